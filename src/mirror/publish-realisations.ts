import { formatRealisation, type Realisation, signRealisation } from '../nix/realisation.ts';
import { hashPartOf } from '../nix/store-path.ts';
import type { Mirror } from './mirror.ts';
import type { NamedBytes } from './storage.ts';

/** A realisation, and the name of its file in a cache. */
export interface NamedRealisation {
  readonly name: string;
  readonly realisation: Realisation;
}

/**
 * Writes realisations that somebody trusted has signed into the mirror, signed by it too unless `sign` is false, as far as clients can have what they
 * lead to. To be called when all paths are published. Resolves to how many were new.
 */
export async function publishRealisations(
  mirror: Mirror,
  realisations: Iterable<NamedRealisation>,
  { sign = true }: { readonly sign?: boolean } = {},
): Promise<number> {
  const files = new Map<string, NamedBytes>();
  const keys = sign ? mirror.signingKeys : [];
  for (const { name, realisation } of realisations) {
    if (files.has(name) || !(await mirror.hasPath(hashPartOf(realisation.outPath)))) continue;
    const bytes = formatRealisation(keys.reduce(signRealisation, realisation));
    const here = await mirror.storage.read(name);
    if (here?.toString() !== bytes) files.set(name, { name, bytes });
  }
  if (files.size > 0) await mirror.storage.writeInOrder([[...files.values()]]);
  return files.size;
}
