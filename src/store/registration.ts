import { formatHash } from '../nix/index.ts';
import type { PackedPath } from './unpack-closure.ts';

/**
 * What `nix-store --load-db` reads to take paths that lie in the store as valid: for each the lines path, NAR hash (base16), NAR size, deriver or
 * nothing, number of references, references. It is what `nix-store --dump-db` prints, alike in every Nix.
 */
export function formatRegistrations(paths: readonly PackedPath[]): string {
  return paths
    .flatMap(({ storePath, narHash, narSizeBytes, deriver, references }) => [
      storePath,
      formatHash(narHash, 'base16', { prefix: false }),
      narSizeBytes,
      deriver ?? '',
      references.length,
      ...references,
    ])
    .map((line) => `${line}\n`)
    .join('');
}
