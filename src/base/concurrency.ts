/**
 * Calls `fn` on every item with at most `limit` calls running, and gives the results in the order of the items.
 * An async source is read only as fast as calls finish. After the first failure, or an abort, no new call starts; the running
 * ones are waited for, so that nothing works on behind the caller's back, and then the first error is thrown.
 */
export async function mapConcurrent<Item, Result>(
  items: Iterable<Item> | AsyncIterable<Item>,
  limit: number,
  fn: (item: Item, index: number) => Promise<Result>,
  signal?: AbortSignal,
): Promise<Result[]> {
  assertLimit(limit);
  const results: Result[] = [];
  const running = new Set<Promise<void>>();
  const failures: unknown[] = [];
  try {
    let count = 0;
    for await (const item of items) {
      if (failures.length > 0) break;
      signal?.throwIfAborted();
      const index = count++;
      const call = callOne(fn, item, index, results, failures).then(() => void running.delete(call));
      running.add(call);
      if (running.size >= limit) await Promise.race(running);
    }
  } catch (error) {
    failures.push(error);
  }
  await Promise.all(running);
  if (failures.length > 0) throw failures[0];
  signal?.throwIfAborted();
  return results;
}

/** Lets at most `limit` holders in at a time, first come first served. */
export class Semaphore {
  readonly #budget: ByteBudget;

  constructor(limit: number) {
    this.#budget = new ByteBudget(limit);
  }

  acquire(signal?: AbortSignal): Promise<void> {
    return this.#budget.acquire(1, signal);
  }

  release(): void {
    this.#budget.release(1);
  }

  /** Runs `fn` while holding one place. */
  use<Result>(fn: () => Promise<Result>, signal?: AbortSignal): Promise<Result> {
    return this.#budget.use(1, fn, signal);
  }
}

/**
 * Bounds the bytes that concurrent work holds in memory. First come first served, so that a large request is not starved by
 * small ones; a request above the whole budget counts as the whole budget, and so runs alone.
 */
export class ByteBudget {
  readonly #totalBytes: number;
  readonly #waiting: Waiter[] = [];
  #freeBytes: number;

  constructor(totalBytes: number) {
    assertLimit(totalBytes);
    this.#totalBytes = totalBytes;
    this.#freeBytes = totalBytes;
  }

  /** Waits until `bytes` are free and takes them; the caller owes one `release` of the same number. Rejects on abort. */
  async acquire(bytes: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const wanted = Math.min(bytes, this.#totalBytes);
    if (this.#waiting.length === 0 && wanted <= this.#freeBytes) {
      this.#freeBytes -= wanted;
      return;
    }
    await this.#wait(wanted, signal);
  }

  release(bytes: number): void {
    this.#freeBytes += Math.min(bytes, this.#totalBytes);
    if (this.#freeBytes > this.#totalBytes) throw new Error('more bytes were released than acquired');
    this.#admit();
  }

  /** Runs `fn` while holding `bytes`. */
  async use<Result>(bytes: number, fn: () => Promise<Result>, signal?: AbortSignal): Promise<Result> {
    await this.acquire(bytes, signal);
    try {
      return await fn();
    } finally {
      this.release(bytes);
    }
  }

  #wait(bytes: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const abort = (): void => {
        const position = this.#waiting.indexOf(waiter);
        if (position === -1) return;
        this.#waiting.splice(position, 1);
        reject(signal?.reason);
        // Whoever stood behind a large request may fit now that it has left the queue.
        this.#admit();
      };
      const admit = (): void => {
        signal?.removeEventListener('abort', abort);
        resolve();
      };
      const waiter: Waiter = { bytes, admit };
      this.#waiting.push(waiter);
      signal?.addEventListener('abort', abort, { once: true });
    });
  }

  #admit(): void {
    for (
      let first = this.#waiting[0];
      first !== undefined && first.bytes <= this.#freeBytes;
      first = this.#waiting[0]
    ) {
      this.#waiting.shift();
      this.#freeBytes -= first.bytes;
      first.admit();
    }
  }
}

interface Waiter {
  readonly bytes: number;
  readonly admit: () => void;
}

async function callOne<Item, Result>(
  fn: (item: Item, index: number) => Promise<Result>,
  item: Item,
  index: number,
  results: Result[],
  failures: unknown[],
): Promise<void> {
  try {
    results[index] = await fn(item, index);
  } catch (error) {
    failures.push(error);
  }
}

function assertLimit(limit: number): void {
  if (!(limit >= 1)) throw new RangeError(`a limit of ${limit} would never let anything run`);
}
