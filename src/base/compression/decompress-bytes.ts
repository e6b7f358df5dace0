import { boundOutput } from './bound-output.ts';
import type { Compression } from './compression.ts';
import { type DecompressStreamOptions, decompressStream } from './decompress-stream.ts';
import { decompressXzBytes } from './decompress-xz.ts';

/** Decodes a whole file that is in memory; bounds and errors as for `decompressStream`. */
export async function decompressBytes(
  compression: Compression,
  bytes: Uint8Array,
  options: DecompressStreamOptions,
): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of decompressChunks(compression, bytes, options)) chunks.push(chunk);
  return chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks);
}

/** The same in pieces, for those who only look at each once. */
export function decompressChunks(
  compression: Compression,
  bytes: Uint8Array,
  options: DecompressStreamOptions,
): AsyncGenerator<Buffer, void, undefined> {
  if (compression !== 'xz') return decompressStream(compression, one(bytes), options);
  return boundOutput(decompressXzBytes(bytes, options.maxBytes, options.signal), compression, options.maxBytes);
}

async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}
