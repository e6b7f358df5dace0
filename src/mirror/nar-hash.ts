import { createHash, hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { asCompression, type Compression } from '../base/compression/compression.ts';
import { findDecompressor } from '../base/compression/decompress-program.ts';
import { decompressStream } from '../base/compression/decompress-stream.ts';
import { type DecompressedHash, hashDecompressed } from '../base/compression/hash-decompressed.ts';
import { XzBatches } from '../base/compression/xz-batches.ts';
import { scanXz } from '../base/compression/xz-scan.ts';
import { ByteBudget } from '../base/concurrency.ts';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { releaseMemory } from '../base/release-memory.ts';
import { formatHash, type Hash, hashAlgorithm, hashFromDigest } from '../nix/hash.ts';

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
export interface HashedNar {
  readonly fileHash: Hash;
  /** In the algorithm that the narinfo uses for its FileHash; the same as `fileHash` where that is sha256 or not stated. */
  readonly statedFileHash: Hash;
  readonly fileSizeBytes: number;
  readonly narHash: Hash;
  readonly narSizeBytes: number;
}

// What decodes at the same time in this process, whoever asked for it: files held in memory and what they unfold to.
const decodeBudget = new ByteBudget(LIMITS.decodeMemoryBytes);
const xzBatches = new XzBatches();

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
    fileSizeBytes <= LIMITS.heldFileBytes &&
    expected.narSizeBytes <= LIMITS.heldFileNarBytes &&
    hashAlgorithm(expected.narHash) === 'sha256'
  );
}

/** The most bytes that the file can honestly have. */
export function maxFileBytes(expected: ExpectedNar): number {
  // No compressor makes incompressible data grow by more than a small part.
  return expected.fileSizeBytes ?? expected.narSizeBytes + Math.ceil(expected.narSizeBytes / 8) + 64 * 1024;
}

/**
 * Hashes a file in memory and what it decodes to. Throws `damage` when it does not decode, or to more than NarSize.
 * @param file where the same bytes lie on the disk, which lets a program decode them together with others.
 */
export async function hashNarBytes(
  bytes: Uint8Array,
  expected: ExpectedNar,
  file: string | undefined,
  signal?: AbortSignal,
): Promise<HashedNar> {
  const fileHash = hashFromDigest('sha256', hash('sha256', bytes, 'buffer'));
  const stated = expected.fileHash === undefined ? 'sha256' : hashAlgorithm(expected.fileHash);
  const nar = (await hashInBatch(bytes, expected, file, signal)) ?? (await hashAlone(bytes, expected, signal));
  return {
    fileHash,
    statedFileHash: stated === 'sha256' ? fileHash : hashFromDigest(stated, hash(stated, bytes, 'buffer')),
    fileSizeBytes: bytes.length,
    narHash: hashFromDigest('sha256', nar.sha256),
    narSizeBytes: nar.sizeBytes,
  };
}

function hashAlone(
  bytes: Uint8Array,
  expected: ExpectedNar,
  signal: AbortSignal | undefined,
): Promise<DecompressedHash> {
  const maxBytes = expected.narSizeBytes;
  return decodeBudget.use(
    bytes.length + Math.min(maxBytes, LIMITS.xzOneShotOutputBytes),
    () => hashDecompressed(readableCompression(expected), bytes, { maxBytes, signal }),
    signal,
  );
}

/** Undefined where this way is none, or where it did not succeed: who decodes the file alone finds out why. */
async function hashInBatch(
  bytes: Uint8Array,
  expected: ExpectedNar,
  file: string | undefined,
  signal: AbortSignal | undefined,
): Promise<DecompressedHash | undefined> {
  const sizeBytes = expected.narSizeBytes;
  if (file === undefined || readableCompression(expected) !== 'xz' || sizeBytes < LIMITS.xzBatchLeastOutputBytes)
    return undefined;
  const program = findDecompressor('xz');
  // The file itself must announce the size: of a neighbour's bytes nothing may be taken for its own.
  if (program === undefined || scanXz(bytes)?.outputBytes !== sizeBytes) return undefined;
  const sha256 = await xzBatches.hash(program, file, sizeBytes, signal);
  return sha256 === undefined ? undefined : { sha256, sizeBytes };
}

/** Hashes a file that is read as a stream, once; memory stays small whatever its size. Errors as of `hashNarBytes`. */
export async function hashNarStream(
  source: AsyncIterable<Uint8Array>,
  expected: ExpectedNar,
  signal?: AbortSignal,
): Promise<HashedNar> {
  const compression = readableCompression(expected);
  const stated = expected.fileHash === undefined ? 'sha256' : hashAlgorithm(expected.fileHash);
  const fileDigest = createHash('sha256');
  const statedDigest = stated === 'sha256' ? undefined : createHash(stated);
  const narAlgorithm = hashAlgorithm(expected.narHash);
  const narDigest = createHash(narAlgorithm);
  let fileSizeBytes = 0;
  let narSizeBytes = 0;
  async function* wire(): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of source) {
      fileDigest.update(chunk);
      statedDigest?.update(chunk);
      fileSizeBytes += chunk.length;
      yield chunk;
    }
  }
  for await (const chunk of decompressStream(compression, wire(), { maxBytes: expected.narSizeBytes, signal })) {
    narDigest.update(chunk);
    narSizeBytes += chunk.length;
    // Without compression the chunk is the source's.
    if (compression !== 'none') releaseMemory(chunk);
  }
  const fileHash = hashFromDigest('sha256', fileDigest.digest());
  return {
    fileHash,
    statedFileHash: statedDigest === undefined ? fileHash : hashFromDigest(stated, statedDigest.digest()),
    fileSizeBytes,
    narHash: hashFromDigest(narAlgorithm, narDigest.digest()),
    narSizeBytes,
  };
}

/** Hashes a local file, in memory or as a stream, whichever suits its size. */
export async function hashNarFile(file: string, expected: ExpectedNar, signal?: AbortSignal): Promise<HashedNar> {
  if (fitsMemory(expected)) return hashNarBytes(await readFile(file), expected, file, signal);
  const stream = createReadStream(file, { highWaterMark: LIMITS.fileChunkBytes });
  try {
    return await hashNarStream(stream, expected, signal);
  } finally {
    stream.destroy();
  }
}

/** What of the file is not as its narinfo says, in words; undefined when all is. */
export function findMismatch(hashed: HashedNar, expected: ExpectedNar): string | undefined {
  if (expected.fileSizeBytes !== undefined && hashed.fileSizeBytes !== expected.fileSizeBytes) {
    return `the file has ${hashed.fileSizeBytes} bytes, FileSize says ${expected.fileSizeBytes}`;
  }
  if (expected.fileHash !== undefined && hashed.statedFileHash !== expected.fileHash) {
    return `the file hashes to ${show(hashed.statedFileHash)}, FileHash says ${show(expected.fileHash)}`;
  }
  if (hashed.narSizeBytes !== expected.narSizeBytes) {
    return `the NAR has ${hashed.narSizeBytes} bytes, NarSize says ${expected.narSizeBytes}`;
  }
  if (hashed.narHash !== expected.narHash) {
    return `the NAR hashes to ${show(hashed.narHash)}, NarHash says ${show(expected.narHash)}`;
  }
  return undefined;
}

function show(value: Hash): string {
  return formatHash(value, 'nix32');
}
