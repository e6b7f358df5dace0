import { addAbortSignal, pipeline } from 'node:stream';
import { constants, createBrotliDecompress, createGunzip, createZstdDecompress } from 'node:zlib';
import { LIMITS } from '../limits.ts';
import { damaged } from './damage.ts';
import { GuardedSource } from './guarded-source.ts';
import { splitZstdFrames } from './zstd-frames.ts';

type ZlibCompression = 'gzip' | 'br' | 'zstd';

const CHUNK_BYTES_MIN = 1024;

/**
 * Decodes with Node's own zlib; the work is done on libuv's threads, the output waits for the reader. `expectedBytes`, about the most that will
 * come out, keeps the memory for the output of small files small: there are many of them.
 */
export async function* decompressWithZlib(
  compression: ZlibCompression,
  source: AsyncIterable<Uint8Array>,
  expectedBytes: number,
  signal?: AbortSignal,
): AsyncGenerator<Buffer, void, undefined> {
  signal?.throwIfAborted();
  const input = new GuardedSource(compression === 'zstd' ? splitZstdFrames(source) : source);
  const engine = createEngine(compression, expectedBytes);
  if (signal !== undefined) addAbortSignal(signal, engine);
  // Failures of either end reach the loop below through the engine; the callback has nothing to add.
  pipeline(input.readable, engine, () => {});
  try {
    for await (const chunk of engine as AsyncIterable<Buffer>) yield chunk;
  } catch (error) {
    throw input.blame(error, signal, (cause) => explain(compression, cause));
  } finally {
    engine.destroy();
    input.readable.destroy();
  }
  // Brotli (and gzip before zero bytes) stops at its end and says nothing about what follows.
  if (engine.bytesWritten < input.sizeBytes) {
    throw damaged(compression, `${input.sizeBytes - engine.bytesWritten} bytes follow its end`);
  }
}

function createEngine(compression: ZlibCompression, expectedBytes: number) {
  const chunkSize = Math.min(LIMITS.decompressedChunkBytes, Math.max(CHUNK_BYTES_MIN, expectedBytes));
  switch (compression) {
    case 'gzip':
      return createGunzip({ chunkSize });
    case 'br':
      return createBrotliDecompress({ chunkSize });
    case 'zstd':
      return createZstdDecompress({
        chunkSize,
        params: { [constants.ZSTD_d_windowLogMax]: LIMITS.zstdWindowLog },
      });
  }
}

function explain(compression: ZlibCompression, error: unknown): unknown {
  // zlib marks its own errors by errno; anything else, such as a splitter's NixferryError or a bug, stays what it is.
  if (error instanceof Error && 'errno' in error) return damaged(compression, error.message, error);
  return error;
}
