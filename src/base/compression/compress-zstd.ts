import { addAbortSignal, pipeline } from 'node:stream';
import { constants, createZstdCompress } from 'node:zlib';
import { LIMITS } from '../limits.ts';
import { GuardedSource } from './guarded-source.ts';

export interface CompressZstdOptions {
  /** 1 to 19; default 3. */
  readonly level?: number;
  /** Stated in the frame's header when known, so that readers can plan; the source must then give exactly so many bytes. */
  readonly sizeBytes?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Compresses to one zstd frame with a checksum, on libuv's threads, as fast as the result is consumed. */
export async function* compressZstd(
  source: AsyncIterable<Uint8Array>,
  options: CompressZstdOptions = {},
): AsyncGenerator<Buffer, void, undefined> {
  const { level = 3, sizeBytes, signal } = options;
  signal?.throwIfAborted();
  const input = new GuardedSource(source);
  // Never ask for worker threads (nbWorkers): Node crashes with them.
  const engine = createZstdCompress({
    chunkSize: LIMITS.decompressedChunkBytes,
    params: { [constants.ZSTD_c_compressionLevel]: level, [constants.ZSTD_c_checksumFlag]: 1 },
    ...(sizeBytes === undefined ? {} : { pledgedSrcSize: sizeBytes }),
  });
  if (signal !== undefined) addAbortSignal(signal, engine);
  pipeline(input.readable, engine, () => {});
  try {
    for await (const chunk of engine as AsyncIterable<Buffer>) yield chunk;
  } catch (error) {
    throw input.blame(error, signal, (cause) => cause);
  } finally {
    engine.destroy();
    input.readable.destroy();
  }
}
