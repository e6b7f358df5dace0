import { createReadStream } from 'node:fs';
import { findDecompressor } from '../base/compression/decompress-program.ts';
import { XzDecoders } from '../base/compression/xz-decoders.ts';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { hashAlgorithm, hashFromDigest } from '../nix/hash.ts';
import { FileDigests } from './file-digests.ts';
import { type ExpectedNar, findFileMismatch, fitsMemory, type HashedNar, hashNarStream } from './nar-hash.ts';

const decoders = new XzDecoders();

/** Whether a file is so small that it is decoded sooner in one go, even where somebody waits for the result. */
export function isSoonDecoded(expected: ExpectedNar): boolean {
  return (expected.fileSizeBytes ?? expected.narSizeBytes) <= LIMITS.xzEagerBytes && fitsMemory(expected);
}

/**
 * Hashes a file while it comes, so that the result is there soon after the last byte. Errors as of `hashNarStream`.
 * @param file where the source's bytes are by the time that the source ends: what cannot be decoded on the way is read from there.
 */
export async function hashFollowedNar(
  source: AsyncIterable<Uint8Array>,
  file: string,
  expected: ExpectedNar,
  signal?: AbortSignal,
): Promise<HashedNar> {
  const program = findDecompressor('xz');
  if (program === undefined || expected.compression !== 'xz' || hashAlgorithm(expected.narHash) !== 'sha256') {
    return hashNarStream(source, expected, { signal, eager: true });
  }
  const { narSizeBytes } = expected;
  const digests = new FileDigests(expected);
  const decoding = decoders.begin(program, narSizeBytes, signal);
  let sha256: Buffer | undefined;
  try {
    for await (const chunk of source) {
      digests.update(chunk);
      await decoding.write(chunk);
    }
    sha256 = await decoding.end();
  } finally {
    decoding.giveUp();
  }
  const hashed = digests.finish();
  const mismatch = findFileMismatch(hashed, expected);
  if (mismatch !== undefined) throw new NixferryError('damage', mismatch);
  if (sha256 !== undefined) return { ...hashed, narHash: hashFromDigest('sha256', sha256), narSizeBytes };
  return hashNarStream(createReadStream(file, { highWaterMark: LIMITS.fileChunkBytes }), expected, { signal });
}
