import { formatCount, formatNumber } from '../base/amounts.ts';
import { EXIT } from '../base/errors.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { type SignResult, signPaths } from '../mirror/sign-paths.ts';
import { signRealisations } from '../mirror/sign-realisations.ts';
import type { CommandRun } from './run.ts';

const SHOWN_PATHS = 20;

/** Signs all that clients of the mirror see, realisations included. */
export async function signAll(mirror: Mirror, { output, signal }: CommandRun): Promise<SignResult> {
  const result = await signPaths(mirror, await mirror.index.hashParts(), { signal, onProgress: output.onProgress });
  await signRealisations(mirror, signal);
  return result;
}

/** Says what was signed and what was not; gives the exit code. */
export function reportSigned({ signed, already, refused, absent }: SignResult, { output }: CommandRun): number {
  output.onProgress({ type: 'phase', phase: '' });
  output.event('signed', { signed, already, refused, absent });
  for (const { path, reason } of refused.slice(0, SHOWN_PATHS)) output.warn(`not signed: ${path}: ${reason}`);
  if (refused.length > SHOWN_PATHS) output.warn(`... and ${refused.length - SHOWN_PATHS} more (--json lists all)`);
  for (const hashPart of absent.slice(0, SHOWN_PATHS)) output.warn(`not here: ${hashPart}`);
  const sum = `${formatCount(signed, 'path')} signed, ${formatNumber(already)} had it already`;
  if (refused.length > 0) {
    output.warn(`damaged: ${formatCount(refused.length, 'path')} not signed; nixferry verify says more (${sum})`);
    return EXIT.damage;
  }
  output.say(`${absent.length > 0 ? 'in part' : 'complete'}: ${sum}`);
  return absent.length > 0 ? EXIT.partial : EXIT.complete;
}
