import { createReadStream } from 'node:fs';
import { findDecompressor } from '../base/compression/decompress-program.ts';
import { XzBatches } from '../base/compression/xz-batches.ts';
import { readXzIndex } from '../base/compression/xz-index.ts';
import { LIMITS } from '../base/limits.ts';
import { hashAlgorithm, hashFromDigest } from '../nix/hash.ts';
import type { HashedFile } from './file-digests.ts';
import { type ExpectedNar, type HashedNar, hashNarStream } from './nar-hash.ts';

// One for the process, which has so many cores and no more.
const batches = new XzBatches();

/** Whether the file is better written first and decoded from the disk, together with others: true of most that caches hold. */
export function suitsBatch(expected: ExpectedNar): boolean {
  return (
    expected.compression === 'xz' &&
    (expected.fileSizeBytes ?? expected.narSizeBytes) <= LIMITS.xzBatchFileBytes &&
    hashAlgorithm(expected.narHash) === 'sha256' &&
    findDecompressor('xz') !== undefined
  );
}

/**
 * What a file of which `suitsBatch` says so decodes to. Throws `damage` when it does not decode, or to more than NarSize.
 * @param hashed what is known of the file itself.
 */
export async function hashBatchedNar(
  file: string,
  hashed: HashedFile,
  expected: ExpectedNar,
  signal?: AbortSignal,
): Promise<HashedNar> {
  const { narSizeBytes } = expected;
  const program = findDecompressor('xz');
  // The file must announce this size itself: else it is found alone what is wrong with it.
  if (program !== undefined && (await readXzIndex(file)) === narSizeBytes) {
    const sha256 = await batches.hash(program, file, narSizeBytes, signal);
    if (sha256 !== undefined) return { ...hashed, narHash: hashFromDigest('sha256', sha256), narSizeBytes };
  }
  return hashNarStream(createReadStream(file, { highWaterMark: LIMITS.fileChunkBytes }), expected, { signal });
}
