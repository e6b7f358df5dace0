import { NixferryError } from '../base/errors.ts';

/** Begins the file at `offset`, or at an earlier place that it names: 0 when the source cannot skip. */
export type OpenNar = (offset: number) => Promise<{ stream: AsyncIterable<Uint8Array>; offset: number }>;

export interface NarSourceOptions {
  readonly open: OpenNar;
  /** Bytes that are here already. */
  readonly start: number;
  /** Where the file must end; a source that ends before has failed. */
  readonly sizeBytes: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A piece of the file, and where in it the piece belongs; a position behind the last one's end means that the source began anew. */
export interface NarPiece {
  readonly position: number;
  readonly bytes: Uint8Array;
}

/**
 * The file in pieces, from one transfer: whoever opens takes care of going on when it breaks (`openUnbrokenNar`). Throws
 * `upstream-incomplete` when the source ends too soon, and what the source throws.
 */
export async function* readNarSource(options: NarSourceOptions): AsyncGenerator<NarPiece, void, undefined> {
  const { open, start, sizeBytes, signal } = options;
  if (sizeBytes !== undefined && start >= sizeBytes) return;
  signal?.throwIfAborted();
  const { stream, offset } = await open(start);
  if (offset !== start && offset !== 0) throw new Error(`asked for byte ${start}, got ${offset}`);
  let position = offset;
  for await (const bytes of stream) {
    signal?.throwIfAborted();
    yield { position, bytes };
    position += bytes.length;
  }
  if (sizeBytes !== undefined && position < sizeBytes) {
    throw new NixferryError('upstream-incomplete', `the transfer ended after ${position} of ${sizeBytes} bytes`);
  }
}
