import { createHash } from 'node:crypto';
import { asCompression, type Compression } from '../base/compression/compression.ts';
import { type DecompressStreamOptions, decompressStream } from '../base/compression/decompress-stream.ts';
import { hashDecompressed } from '../base/compression/hash-decompressed.ts';
import { ByteBudget } from '../base/concurrency.ts';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { releaseMemory } from '../base/release-memory.ts';
import { formatHash, type Hash, hashAlgorithm, hashFromDigest } from '../nix/hash.ts';
import { FileDigests, type HashedFile } from './file-digests.ts';

/** What a narinfo says of a NAR and of the file that holds it. A `NarInfo` is one. */
export interface ExpectedNar {
  readonly narHash: Hash;
  readonly narSizeBytes: number;
  /** The label of the narinfo. */
  readonly compression: string;
  readonly fileHash?: Hash | undefined;
  readonly fileSizeBytes?: number | undefined;
}

/** What a file turned out to be. */
export interface HashedNar extends HashedFile {
  readonly narHash: Hash;
  readonly narSizeBytes: number;
}

// What decodes at the same time in this process, whoever asked for it: files held in memory and what they unfold to.
const decodeBudget = new ByteBudget(LIMITS.decodeMemoryBytes);

/** The compression that the label means. Throws `damage` for one that no Nixferry reads. */
export function readableCompression(expected: ExpectedNar): Compression {
  const compression = asCompression(expected.compression);
  if (compression !== undefined) return compression;
  throw new NixferryError(
    'damage',
    `the NAR is compressed by ${JSON.stringify(expected.compression)}, which cannot be read here`,
    {
      hint: 'readable are none, xz, zstd, bzip2, gzip and br',
    },
  );
}

/** Whether the file is small enough to be held and decoded in memory, which is the faster way. */
export function fitsMemory(expected: ExpectedNar): boolean {
  const fileSizeBytes = expected.fileSizeBytes ?? expected.narSizeBytes;
  return (
    fileSizeBytes <= LIMITS.xzOneShotCompressedBytes &&
    expected.narSizeBytes <= LIMITS.xzOneShotOutputBytes &&
    hashAlgorithm(expected.narHash) === 'sha256'
  );
}

/** The most bytes that the file can honestly have. */
export function maxFileBytes(expected: ExpectedNar): number {
  // No compressor makes incompressible data grow by more than a small part.
  return expected.fileSizeBytes ?? expected.narSizeBytes + Math.ceil(expected.narSizeBytes / 8) + 64 * 1024;
}

/** Hashes a file in memory and what it decodes to. Throws `damage` when it does not decode, or to more than NarSize. */
export async function hashNarBytes(bytes: Uint8Array, expected: ExpectedNar, signal?: AbortSignal): Promise<HashedNar> {
  const compression = readableCompression(expected);
  const digests = new FileDigests(expected);
  digests.update(bytes);
  const nar = await decodeBudget.use(
    bytes.length + expected.narSizeBytes,
    () => hashDecompressed(compression, bytes, { maxBytes: expected.narSizeBytes, signal }),
    signal,
  );
  return { ...digests.finish(), narHash: hashFromDigest('sha256', nar.sha256), narSizeBytes: nar.sizeBytes };
}

/** Hashes a file that is read as a stream, once; memory stays small whatever its size. Errors as of `hashNarBytes`. */
export async function hashNarStream(
  source: AsyncIterable<Uint8Array>,
  expected: ExpectedNar,
  options: Omit<DecompressStreamOptions, 'maxBytes'> = {},
): Promise<HashedNar> {
  const compression = readableCompression(expected);
  const digests = new FileDigests(expected);
  const narAlgorithm = hashAlgorithm(expected.narHash);
  const narDigest = createHash(narAlgorithm);
  let narSizeBytes = 0;
  async function* wire(): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of source) {
      digests.update(chunk);
      yield chunk;
    }
  }
  for await (const chunk of decompressStream(compression, wire(), { ...options, maxBytes: expected.narSizeBytes })) {
    narDigest.update(chunk);
    narSizeBytes += chunk.length;
    // Without compression the chunk is the source's.
    if (compression !== 'none') releaseMemory(chunk);
  }
  return { ...digests.finish(), narHash: hashFromDigest(narAlgorithm, narDigest.digest()), narSizeBytes };
}

/** What of the file is not as its narinfo says, in words; undefined when all is. */
export function findMismatch(hashed: HashedNar, expected: ExpectedNar): string | undefined {
  const ofFile = findFileMismatch(hashed, expected);
  if (ofFile !== undefined) return ofFile;
  if (hashed.narSizeBytes !== expected.narSizeBytes) {
    return `the NAR has ${hashed.narSizeBytes} bytes, NarSize says ${expected.narSizeBytes}`;
  }
  if (hashed.narHash !== expected.narHash) {
    return `the NAR hashes to ${show(hashed.narHash)}, NarHash says ${show(expected.narHash)}`;
  }
  return undefined;
}

/** The same before anything of it has been decoded. */
export function findFileMismatch(hashed: HashedFile, expected: ExpectedNar): string | undefined {
  if (expected.fileSizeBytes !== undefined && hashed.fileSizeBytes !== expected.fileSizeBytes) {
    return `the file has ${hashed.fileSizeBytes} bytes, FileSize says ${expected.fileSizeBytes}`;
  }
  if (expected.fileHash !== undefined && hashed.statedFileHash !== expected.fileHash) {
    return `the file hashes to ${show(hashed.statedFileHash)}, FileHash says ${show(expected.fileHash)}`;
  }
  return undefined;
}

function show(value: Hash): string {
  return formatHash(value, 'nix32');
}
