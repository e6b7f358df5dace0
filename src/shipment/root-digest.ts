import { createHash } from 'node:crypto';

export interface DigestedPath {
  /** Base name. */
  readonly path: string;
  readonly narHash: string;
}

/**
 * What a root consists of, in one hash: sha256 in hex over a line `baseName narHash` for each of its paths, sorted by base name.
 * Equal digests mean equal contents, whenever and from whatever the root was made.
 */
export function rootDigest(paths: Iterable<DigestedPath>): string {
  const sha256 = createHash('sha256');
  const sorted = [...paths].sort((a, b) => (a.path < b.path ? -1 : 1));
  for (const { path, narHash } of sorted) sha256.update(`${path} ${narHash}\n`);
  return sha256.digest('hex');
}
