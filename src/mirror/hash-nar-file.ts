import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { LIMITS } from '../base/limits.ts';
import { FileDigests } from './file-digests.ts';
import { hashBatchedNar, suitsBatch } from './nar-batch.ts';
import { type ExpectedNar, fitsMemory, type HashedNar, hashNarBytes, hashNarStream } from './nar-hash.ts';

/** Hashes a local file, in the way that suits its size and compression. Errors as of `hashNarBytes`. */
export async function hashNarFile(file: string, expected: ExpectedNar, signal?: AbortSignal): Promise<HashedNar> {
  if (suitsBatch(expected)) return hashInBatch(file, expected, signal);
  if (fitsMemory(expected)) return hashNarBytes(await readFile(file), expected, signal);
  return hashNarStream(createReadStream(file, { highWaterMark: LIMITS.fileChunkBytes }), expected, { signal });
}

async function hashInBatch(file: string, expected: ExpectedNar, signal: AbortSignal | undefined): Promise<HashedNar> {
  const digests = new FileDigests(expected);
  for await (const chunk of createReadStream(file, { highWaterMark: LIMITS.fileChunkBytes })) {
    signal?.throwIfAborted();
    digests.update(chunk as Buffer);
  }
  return hashBatchedNar(file, digests.finish(), expected, signal);
}
