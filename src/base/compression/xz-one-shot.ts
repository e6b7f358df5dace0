import { availableParallelism } from 'node:os';
import { Semaphore } from '../concurrency.ts';
import { damaged } from './damage.ts';
import type { XzScan } from './xz-scan.ts';

export interface XzOneShot {
  /** Decodes all streams of `bytes`; `scan` must come from the same bytes, and bounds what is allocated. */
  decode(bytes: Uint8Array, scan: XzScan, signal?: AbortSignal): AsyncGenerator<Buffer, void, undefined>;
}

/** The native decoder, or undefined on a platform that it has not been built for. */
export async function loadXzOneShot(): Promise<XzOneShot | undefined> {
  loading ??= load();
  return loading;
}

// The threads that decode are libuv's, of which the process has few, and which file operations need too: hence one bound for the process.
const turns = new Semaphore(Math.min(availableParallelism(), 3));
let loading: Promise<XzOneShot | undefined> | undefined;

async function load(): Promise<XzOneShot | undefined> {
  try {
    const { default: library } = await import('@napi-rs/lzma');
    return { decode: (bytes, scan, signal) => decodeStreams(library.xz.decompress, bytes, scan, signal) };
  } catch {
    // The library says only that no binary for this platform could be loaded; the `xz` program does as well.
    return undefined;
  }
}

type Decompress = (input: Uint8Array, signal?: AbortSignal) => Promise<Buffer>;

async function* decodeStreams(
  decompress: Decompress,
  bytes: Uint8Array,
  scan: XzScan,
  signal: AbortSignal | undefined,
): AsyncGenerator<Buffer, void, undefined> {
  // The library refuses concatenated streams, so each is given alone.
  for (const { start, end } of scan.streams) {
    yield await turns.use(() => decodeStream(decompress, bytes.subarray(start, end), signal), signal);
  }
}

async function decodeStream(decompress: Decompress, stream: Uint8Array, signal?: AbortSignal): Promise<Buffer> {
  try {
    return await decompress(stream);
  } catch (error) {
    signal?.throwIfAborted();
    throw damaged('xz', error instanceof Error ? error.message : String(error), error);
  }
}
