import { LIMITS } from '../limits.ts';
import { HttpError } from './http-error.ts';

export interface BodyGuard {
  readonly url: URL;
  /** How long the source may keep a waiting reader without bringing a useful number of bytes. */
  readonly stallTimeoutMs: number;
  /** What the answer's head announced; a body that ends earlier is broken. */
  readonly expectedBytes: number | undefined;
  /** For the whole body, however it trickles. */
  readonly totalTimeoutMs?: number | undefined;
  readonly explain: (error: unknown) => unknown;
  readonly onBytes: (bytes: number) => void;
  /** Called once, when the body has ended in whatever way. */
  readonly onEnd: () => void;
}

/** What is guarded: a Readable of the transport. */
export interface BodySource extends AsyncIterable<Uint8Array> {
  on(event: 'error', listener: () => void): unknown;
  destroy(error?: Error): unknown;
  /** Reads to the end for nothing; destroys itself when more than `limit` bytes are left. */
  dump(options: { limit: number }): Promise<unknown>;
}

/**
 * A response's body, to be read once with `for await`. It fails with an HttpError when it stands still, when it trickles
 * (a reader that is slow itself is never blamed), and when it ends before all that was announced has come. Reading to
 * the end, leaving the loop, or `cancel()` gives the connection free; one of these must happen.
 */
export class GuardedBody implements AsyncIterableIterator<Uint8Array> {
  readonly #source: BodySource;
  readonly #guard: BodyGuard;
  readonly #chunks: AsyncIterator<Uint8Array>;
  #timer: NodeJS.Timeout | undefined;
  #isWaiting = false;
  #isEnded = false;
  #receivedBytes = 0;
  #windowBytes = 0;
  #windowWaitedMs = 0;
  #totalWaitedMs = 0;

  constructor(source: BodySource, guard: BodyGuard) {
    this.#source = source;
    this.#guard = guard;
    this.#chunks = source[Symbol.asyncIterator]();
    // Whoever reads gets the error from next(); when nobody does, it must not end the process.
    source.on('error', () => {});
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Uint8Array>> {
    if (this.#isEnded) return { done: true, value: undefined };
    const beganMs = performance.now();
    this.#arm();
    try {
      const result = await this.#chunks.next();
      this.#isWaiting = false;
      if (result.done === true) this.#assertComplete();
      else this.#count(result.value.length, performance.now() - beganMs);
      if (result.done === true) this.#end();
      return result;
    } catch (error) {
      this.#end();
      this.#source.destroy();
      throw this.#guard.explain(error);
    }
  }

  async return(): Promise<IteratorResult<Uint8Array>> {
    this.cancel();
    return { done: true, value: undefined };
  }

  /** Gives up the rest of the body. */
  cancel(): void {
    if (this.#isEnded) return;
    this.#end();
    this.#source.destroy();
  }

  /** Gives up the rest, but keeps the connection for the next request if little is left: cheaper than a new one. */
  drain(): void {
    if (this.#isEnded) return;
    this.#end();
    this.#source.dump({ limit: DRAIN_BYTES }).catch(() => {});
  }

  #arm(): void {
    this.#isWaiting = true;
    if (this.#timer === undefined) {
      this.#timer = setTimeout(() => {
        if (this.#isWaiting) this.#source.destroy(this.#stalled());
      }, this.#guard.stallTimeoutMs);
    } else {
      this.#timer.refresh();
    }
  }

  #count(bytes: number, waitedMs: number): void {
    this.#receivedBytes += bytes;
    this.#guard.onBytes(bytes);
    this.#windowBytes += bytes;
    this.#windowWaitedMs += waitedMs;
    this.#totalWaitedMs += waitedMs;
    if (this.#totalWaitedMs > (this.#guard.totalTimeoutMs ?? Number.POSITIVE_INFINITY)) throw this.#stalled();
    if (this.#windowWaitedMs < this.#guard.stallTimeoutMs) return;
    if (this.#windowBytes < LIMITS.httpSlowestBytesPerStall) throw this.#stalled();
    this.#windowBytes = 0;
    this.#windowWaitedMs = 0;
  }

  #assertComplete(): void {
    const { expectedBytes, url } = this.#guard;
    if (expectedBytes === undefined || this.#receivedBytes === expectedBytes) return;
    const what = `the transfer ended after ${this.#receivedBytes} of ${expectedBytes} bytes`;
    throw new HttpError('broken', url, what);
  }

  #stalled(): HttpError {
    return new HttpError(
      'stalled',
      this.#guard.url,
      `the transfer stands still, or nearly, after ${this.#receivedBytes} bytes`,
    );
  }

  #end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#isWaiting = false;
    clearTimeout(this.#timer);
    this.#guard.onEnd();
  }
}

const DRAIN_BYTES = 64 * 1024;
