import { Readable } from 'node:stream';

/**
 * A source on its way into a decoder. It counts bytes, and remembers its own failure, so that the decoder's complaint about the
 * missing rest is not mistaken for the cause.
 */
export class GuardedSource {
  readonly readable: Readable;
  #sizeBytes = 0;
  #failure: { readonly error: unknown } | undefined;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.readable = Readable.from(this.#watch(source));
  }

  /** Bytes handed to the decoder so far. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get failed(): boolean {
    return this.#failure !== undefined;
  }

  /** What to throw when decoding failed with `error`: the abort's reason, else the source's own error, else what `explain` makes of it. */
  blame(error: unknown, signal: AbortSignal | undefined, explain: (error: unknown) => unknown): unknown {
    if (signal?.aborted) return signal.reason;
    if (this.#failure !== undefined) return this.#failure.error;
    return explain(error);
  }

  async *#watch(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
    // A stream that is destroyed throws its error into its generator: only what the source itself throws may count as its failure.
    for await (const chunk of this.#noteFailure(source)) {
      this.#sizeBytes += chunk.length;
      if (chunk.length > 0) yield chunk;
    }
  }

  async *#noteFailure(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      yield* source;
    } catch (error) {
      this.#failure = { error };
      throw error;
    }
  }
}
