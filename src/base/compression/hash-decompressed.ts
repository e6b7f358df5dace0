import { createHash } from 'node:crypto';
import { releaseMemory } from '../release-memory.ts';
import type { Compression } from './compression.ts';
import { decompressChunks } from './decompress-bytes.ts';
import type { DecompressStreamOptions } from './decompress-stream.ts';

export interface DecompressedHash {
  readonly sha256: Buffer;
  readonly sizeBytes: number;
}

/** Size and SHA-256 of what a file in memory decodes to; bounds and errors as for `decompressStream`. */
export async function hashDecompressed(
  compression: Compression,
  bytes: Uint8Array,
  options: DecompressStreamOptions,
): Promise<DecompressedHash> {
  const hash = createHash('sha256');
  let sizeBytes = 0;
  for await (const chunk of decompressChunks(compression, bytes, options)) {
    hash.update(chunk);
    sizeBytes += chunk.length;
    // Without compression the chunk is the caller's.
    if (compression !== 'none') releaseMemory(chunk);
  }
  return { sha256: hash.digest(), sizeBytes };
}
