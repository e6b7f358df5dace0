import { closeInBackground } from '../abortable.ts';
import { LIMITS } from '../limits.ts';
import { tooMuchOutput } from './damage.ts';
import { decompressWithProgram, findDecompressor, programMissing } from './decompress-program.ts';
import type { DecompressStreamOptions } from './decompress-stream.ts';
import { loadXzOneShot } from './xz-one-shot.ts';
import { scanXz } from './xz-scan.ts';

/**
 * Decodes xz: small files in one shot on a libuv thread, which saves starting a process; others by the `xz` program.
 * Without the program, one shot serves up to a larger bound, and beyond it `program-missing` is thrown.
 */
export async function* decompressXz(
  source: AsyncIterable<Uint8Array>,
  { maxBytes, signal, eager = false }: DecompressStreamOptions,
): AsyncGenerator<Buffer, void, undefined> {
  const program = findDecompressor('xz');
  const withProgram = eager ? LIMITS.xzEagerBytes : LIMITS.xzOneShotCompressedBytes;
  const headBytes = program === undefined ? LIMITS.xzFallbackCompressedBytes : withProgram;
  const chunks = source[Symbol.asyncIterator]();
  try {
    const head = await readHead(chunks, headBytes, signal);
    if (head.complete) {
      yield* decompressXzBytes(Buffer.concat(head.chunks), maxBytes, signal);
    } else if (program === undefined) {
      throw programMissing('xz');
    } else {
      yield* decompressWithProgram('xz', program, resume(head.chunks, chunks), signal);
    }
  } finally {
    // Not waited for: the program may be gone while a read from a slow source is still pending.
    closeInBackground(chunks);
  }
}

/** The same for a whole file in memory. */
export async function* decompressXzBytes(
  bytes: Uint8Array,
  maxBytes: number,
  signal?: AbortSignal,
): AsyncGenerator<Buffer, void, undefined> {
  const program = findDecompressor('xz');
  const outputLimit = program === undefined ? LIMITS.xzFallbackOutputBytes : LIMITS.xzOneShotOutputBytes;
  const scan = scanXz(bytes);
  if (scan !== undefined && scan.outputBytes > maxBytes) throw tooMuchOutput('xz', maxBytes);
  const oneShot = scan !== undefined && scan.outputBytes <= outputLimit ? await loadXzOneShot() : undefined;
  if (scan !== undefined && oneShot !== undefined) {
    yield* oneShot.decode(bytes, scan, signal);
  } else if (program === undefined) {
    throw programMissing('xz');
  } else {
    yield* decompressWithProgram('xz', program, resume([bytes]), signal);
  }
}

interface Head {
  readonly chunks: readonly Uint8Array[];
  /** Whether the source has ended. */
  readonly complete: boolean;
}

async function readHead(chunks: AsyncIterator<Uint8Array>, maxBytes: number, signal?: AbortSignal): Promise<Head> {
  const head: Uint8Array[] = [];
  for (let sizeBytes = 0; sizeBytes <= maxBytes; ) {
    signal?.throwIfAborted();
    const next = await chunks.next();
    if (next.done === true) return { chunks: head, complete: true };
    head.push(next.value);
    sizeBytes += next.value.length;
  }
  return { chunks: head, complete: false };
}

async function* resume(
  head: readonly Uint8Array[],
  rest?: AsyncIterator<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  yield* head;
  for (let next = await rest?.next(); next?.done === false; next = await rest?.next()) yield next.value;
}
