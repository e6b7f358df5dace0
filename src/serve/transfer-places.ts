import { Semaphore } from '../base/concurrency.ts';

/** Transfers that cost more than reading a file: a few at a time, a few more may wait. */
export class TransferPlaces {
  readonly #places: Semaphore;
  readonly #most: number;
  #held = 0;

  constructor(atOnce: number, waiting: number) {
    this.#places = new Semaphore(atOnce);
    this.#most = atOnce + waiting;
  }

  get mayWait(): boolean {
    return this.#held < this.#most;
  }

  async *hold(work: () => AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
    this.#held += 1;
    try {
      await this.#places.acquire();
      try {
        yield* work();
      } finally {
        this.#places.release();
      }
    } finally {
      this.#held -= 1;
    }
  }
}
