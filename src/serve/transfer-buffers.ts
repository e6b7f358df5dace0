import { LIMITS } from '../base/limits.ts';

/**
 * The buffers through which files go to clients. Large ones are used again and again, since making one costs more than filling it; with
 * very many transfers at once each gets a small one, so that memory stays bounded.
 */
export class TransferBuffers {
  readonly #spare: Buffer[] = [];
  #largeInUse = 0;

  take(): Buffer {
    if (this.#largeInUse >= MOST_LARGE) return Buffer.allocUnsafeSlow(LIMITS.transferBufferLeastBytes);
    this.#largeInUse += 1;
    return this.#spare.pop() ?? Buffer.allocUnsafeSlow(LIMITS.transferBufferBytes);
  }

  /** Of each buffer exactly once; `reusable` when nobody reads it any more, also not the system. */
  giveBack(buffer: Buffer, reusable: boolean): void {
    if (buffer.length !== LIMITS.transferBufferBytes) return;
    this.#largeInUse -= 1;
    if (reusable && this.#spare.length < MOST_SPARE) this.#spare.push(buffer);
  }
}

const MOST_LARGE = LIMITS.transferBuffersBytes / LIMITS.transferBufferBytes;
const MOST_SPARE = 16;
