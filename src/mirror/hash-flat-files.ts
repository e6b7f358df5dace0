import { createHash } from 'node:crypto';
import { decompressStream } from '../base/compression/decompress-stream.ts';
import { mapConcurrent } from '../base/concurrency.ts';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { OnProgress } from '../base/progress.ts';
import { parseContentAddress } from '../nix/content-address.ts';
import { NixFormatError } from '../nix/format-error.ts';
import { DIGEST_BYTES, type Hash, type HashAlgorithm, hashFromDigest } from '../nix/hash.ts';
import { NarParser } from '../nix/nar-reader.ts';
import type { NarInfo } from '../nix/narinfo.ts';
import { hashPartOf } from '../nix/store-path.ts';
import type { HashedFlatFile } from './flat-files.ts';
import type { Mirror } from './mirror.ts';
import { readableCompression } from './nar-hash.ts';

/** What tells a flat output, and where its NAR is. */
export interface FlatCandidate extends Pick<NarInfo, 'storePath' | 'url' | 'compression' | 'narHash' | 'narSizeBytes'> {
  readonly contentAddress?: string | undefined;
}

export interface NoteOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

/**
 * Notes by which hashes the flat outputs among these paths can be asked for: those that are not known yet. Their NARs are in the storage. A NAR that
 * is no plain file, or cannot be read, is left out.
 */
export async function noteFlatFiles(
  mirror: Mirror,
  paths: readonly FlatCandidate[],
  { signal, onProgress }: NoteOptions = {},
): Promise<void> {
  const flat = paths.filter(isFlat);
  if (flat.length === 0) return;
  const table = await mirror.flatFiles();
  const fresh = flat.filter(({ storePath, narHash }) => table.get(hashPartOf(storePath))?.narHash !== narHash);
  for (let start = 0; start < fresh.length; start += LIMITS.flatFilesPerBatch) {
    const batch = fresh.slice(start, start + LIMITS.flatFilesPerBatch);
    const hashOne = async (info: FlatCandidate): Promise<HashedFlatFile | undefined> => {
      const file = await hashFlatFile(mirror, info, signal);
      onProgress?.({ type: 'advance', items: 1 });
      return file;
    };
    const hashed = await mapConcurrent(batch, LIMITS.flatFilesHashedAtOnce, hashOne, signal);
    table.put(hashed.filter((file) => file !== undefined));
  }
}

/** Whether the path is addressed by the hash of a file, as sources are. */
function isFlat({ contentAddress }: FlatCandidate): boolean {
  if (contentAddress === undefined) return false;
  try {
    return parseContentAddress(contentAddress).method === 'flat';
  } catch (error) {
    if (error instanceof NixFormatError) return false;
    throw error;
  }
}

const ALGORITHMS = Object.keys(DIGEST_BYTES) as readonly HashAlgorithm[];

async function hashFlatFile(
  { storage }: Mirror,
  info: FlatCandidate,
  signal: AbortSignal | undefined,
): Promise<HashedFlatFile | undefined> {
  const opened = await storage.open(info.url);
  if (opened === undefined) return undefined;
  const digests = ALGORITHMS.map((algorithm) => [algorithm, createHash(algorithm)] as const);
  let isPlainFile = false;
  let sizeBytes = 0;
  const parser = new NarParser({
    regular: ({ path, executable, sizeBytes: fileBytes }) => {
      isPlainFile = path.length === 0 && !executable;
      sizeBytes = fileBytes;
    },
    contents: (chunk) => {
      for (const [, digest] of digests) digest.update(chunk);
    },
  });
  try {
    const nar = decompressStream(readableCompression(info), opened.stream, { maxBytes: info.narSizeBytes, signal });
    for await (const chunk of nar) parser.push(chunk);
    parser.end();
  } catch (error) {
    if (error instanceof NixFormatError || (error instanceof NixferryError && error.code === 'damage'))
      return undefined;
    throw error;
  } finally {
    opened.stream.destroy();
  }
  if (!isPlainFile) return undefined;
  const hashes = Object.fromEntries(
    digests.map(([algorithm, digest]) => [algorithm, hashFromDigest(algorithm, digest.digest())]),
  ) as Record<HashAlgorithm, Hash>;
  return { hashPart: hashPartOf(info.storePath), narHash: info.narHash, sizeBytes, hashes };
}
