import { setTimeout as delay } from 'node:timers/promises';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';

/** Begins the file at `offset`, or at an earlier place that it names: 0 when the source cannot skip. */
export type OpenNar = (offset: number) => Promise<{ stream: AsyncIterable<Uint8Array>; offset: number }>;

export interface NarSourceOptions {
  readonly open: OpenNar;
  /** Bytes that are here already. */
  readonly start: number;
  /** Where the file must end; a source that ends before is asked again. */
  readonly sizeBytes: number | undefined;
  /** Whether it makes sense to open a second time; a member of a tar stream passes by only once. */
  readonly reopens: boolean;
  readonly retryBaseMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** A piece of the file, and where in it the piece belongs; a position behind the last one's end means that the source began anew. */
export interface NarPiece {
  readonly position: number;
  readonly bytes: Uint8Array;
}

/**
 * The file in pieces, asking the source again where a transfer broke off. Gives up with the last error when it broke off several times without
 * a single byte in between. Errors of `open` come through at once: whoever opens has already tried again as often as makes sense.
 */
export async function* readNarSource(options: NarSourceOptions): AsyncGenerator<NarPiece, void, undefined> {
  const { open, sizeBytes, reopens, retryBaseMs, signal } = options;
  if (sizeBytes !== undefined && options.start >= sizeBytes) return;
  let position = options.start;
  // Only bytes that were never here before count as progress: a source that cannot skip gives the first ones again and again.
  let furthest = position;
  for (let failures = 0; ; ) {
    signal?.throwIfAborted();
    const source = await open(position);
    if (source.offset !== position && source.offset !== 0)
      throw new Error(`asked for byte ${position}, got ${source.offset}`);
    position = source.offset;
    try {
      for await (const bytes of source.stream) {
        signal?.throwIfAborted();
        yield { position, bytes };
        position += bytes.length;
      }
      if (sizeBytes === undefined || position >= sizeBytes) return;
      throw new NixferryError('upstream-incomplete', `the transfer ended after ${position} of ${sizeBytes} bytes`);
    } catch (error) {
      signal?.throwIfAborted();
      failures = position > furthest ? 1 : failures + 1;
      furthest = Math.max(furthest, position);
      if (!reopens || failures >= LIMITS.intakeAttempts) throw error;
      await delay(retryBaseMs * 2 ** (failures - 1), undefined, signal === undefined ? {} : { signal });
    }
  }
}
