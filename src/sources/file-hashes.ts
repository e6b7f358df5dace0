import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { LIMITS } from '../base/limits.ts';
import { DIGEST_BYTES, type Hash, type HashAlgorithm, hashFromDigest, type NarNode, writeNar } from '../nix/index.ts';

/** Every hash by which a derivation may ask for a file. */
export interface FileHashes {
  /** Of its bytes. */
  readonly flat: Readonly<Record<HashAlgorithm, Hash>>;
  /** sha256 of the NAR of the file, may it be executed. */
  readonly executable: Hash;
}

const ALGORITHMS = Object.keys(DIGEST_BYTES) as readonly HashAlgorithm[];

/** Reads a file once for all its hashes. Throws when it changes its size meanwhile. */
export async function hashFile(file: string, sizeBytes: number, signal: AbortSignal): Promise<FileHashes> {
  const digests = ALGORITHMS.map((algorithm) => [algorithm, createHash(algorithm)] as const);
  const executable = createHash('sha256');
  async function* read(): AsyncGenerator<Buffer, void, undefined> {
    const bytes = createReadStream(file, { highWaterMark: LIMITS.fileChunkBytes, signal });
    for await (const chunk of bytes as AsyncIterable<Buffer>) {
      for (const [, digest] of digests) digest.update(chunk);
      yield chunk;
    }
  }
  const node: NarNode = { type: 'regular', executable: true, sizeBytes, contents: read };
  for await (const chunk of writeNar(node)) executable.update(chunk);
  const flat = Object.fromEntries(
    digests.map(([algorithm, digest]) => [algorithm, hashFromDigest(algorithm, digest.digest())]),
  ) as Record<HashAlgorithm, Hash>;
  return { flat, executable: hashFromDigest('sha256', executable.digest()) };
}
