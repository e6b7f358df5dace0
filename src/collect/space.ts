import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { formatBytes } from '../base/amounts.ts';
import { NixferryError } from '../base/errors.ts';
import { freeBytes } from '../base/files.ts';
import type { Mirror } from '../mirror/mirror.ts';
import type { CollectPlan } from './plan.ts';

/** @throws NixferryError `no-space` with the numbers, when the plan does not fit beside what a broken-off run has left. */
export async function checkSpace(plan: CollectPlan, mirror: Mirror): Promise<void> {
  const free = await freeBytes(mirror.directory);
  const needed = plan.downloadBytes - (await partialBytes(mirror));
  if (needed <= free) return;
  const atMost = plan.downloadIsExact ? '' : 'at most ';
  throw new NixferryError(
    'no-space',
    `${mirror.directory} has ${formatBytes(free)} free, and ${atMost}${formatBytes(needed)} are needed`,
    { hint: 'free some room, carry fewer roots at a time, or put the mirror elsewhere with --mirror' },
  );
}

/** What a broken-off run has fetched already and this one will not fetch again. */
async function partialBytes(mirror: Mirror): Promise<number> {
  let bytes = 0;
  for (const name of await readdir(mirror.layout.partialFolder)) {
    bytes += (await stat(join(mirror.layout.partialFolder, name))).size;
  }
  return bytes;
}
