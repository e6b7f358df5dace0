import { abortable } from '../abortable.ts';
import { boundOutput } from './bound-output.ts';
import type { Compression } from './compression.ts';
import { decompressWithProgram, findDecompressor, programMissing } from './decompress-program.ts';
import { decompressXz } from './decompress-xz.ts';
import { decompressWithZlib } from './decompress-zlib.ts';

export interface DecompressStreamOptions {
  /** Bound on the output; a narinfo's NarSize where one is known. */
  readonly maxBytes: number;
  readonly signal?: AbortSignal | undefined;
  /** Whether somebody waits for the result: what costs less in one go is decoded while it comes all the same. */
  readonly eager?: boolean | undefined;
}

/**
 * Decodes a stream as fast as the result is consumed. Several gzip members, zstd frames, xz or bzip2 streams in a row are one stream.
 * Throws `damage` for malformed or truncated input, trailing bytes, and output beyond `maxBytes`; `program-missing` when the data needs a
 * program that is not installed; the abort's reason; and the source's own errors as they are.
 */
export function decompressStream(
  compression: Compression,
  source: AsyncIterable<Uint8Array>,
  options: DecompressStreamOptions,
): AsyncGenerator<Buffer, void, undefined> {
  const { maxBytes, signal } = options;
  const input = signal === undefined ? source : abortable(source, signal);
  return boundOutput(decode(compression, input, options), compression, maxBytes);
}

function decode(
  compression: Compression,
  source: AsyncIterable<Uint8Array>,
  { maxBytes, signal, eager }: DecompressStreamOptions,
): AsyncGenerator<Buffer, void, undefined> {
  switch (compression) {
    case 'none':
      return passThrough(source);
    case 'gzip':
    case 'br':
    case 'zstd':
      return decompressWithZlib(compression, source, maxBytes, signal);
    case 'xz':
      return decompressXz(source, { maxBytes, signal, eager });
    case 'bzip2':
      return decompressBzip2(source, signal);
  }
}

async function* passThrough(source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer, void, undefined> {
  for await (const chunk of source) {
    yield Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
  }
}

async function* decompressBzip2(
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Buffer, void, undefined> {
  const program = findDecompressor('bzip2');
  if (program === undefined) throw programMissing('bzip2');
  yield* decompressWithProgram('bzip2', program, source, signal);
}
