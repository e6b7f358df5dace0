import type { Mirror } from '../mirror/mirror.ts';
import type { NamedBytes } from '../mirror/storage.ts';
import { formatRealisation, signRealisation } from '../nix/realisation.ts';
import { hashPartOf } from '../nix/store-path.ts';
import type { FoundRealisation } from './realisation-finder.ts';

/**
 * Writes realisations into the mirror, signed by it too, as far as clients can have what they lead to. To be called when all paths are published.
 * Resolves to how many were new.
 */
export async function carryRealisations(mirror: Mirror, found: Iterable<FoundRealisation>): Promise<number> {
  const files = new Map<string, NamedBytes>();
  for (const { name, realisation } of found) {
    if (files.has(name) || !(await mirror.hasPath(hashPartOf(realisation.outPath)))) continue;
    const bytes = formatRealisation(mirror.signingKeys.reduce(signRealisation, realisation));
    const here = await mirror.storage.read(name);
    if (here?.toString() !== bytes) files.set(name, { name, bytes });
  }
  if (files.size > 0) await mirror.storage.writeInOrder([[...files.values()]]);
  return files.size;
}
