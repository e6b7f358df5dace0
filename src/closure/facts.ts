/** Asks for the value of a key; undefined where there is none. */
export type Ask<Value> = (key: string) => Promise<Value | undefined>;

/**
 * What was asked so far and what came of it. Work that needs an answer goes on when it is there, so that hundreds of questions are under way
 * at a time; once all is answered, the same work finds everything here at once.
 */
export class Facts<Value> {
  readonly #ask: Ask<Value>;
  readonly #limit: number;
  readonly #signal: AbortSignal | undefined;
  readonly #answers = new Map<string, Value | undefined>();
  readonly #sleepers = new Map<string, (() => void)[]>();
  readonly #queue: string[] = [];
  #next = 0;
  #underWay = 0;
  #arrival = Promise.withResolvers<void>();
  #failure: { readonly error: unknown } | undefined;

  constructor(ask: Ask<Value>, limit: number, signal?: AbortSignal) {
    this.#ask = ask;
    this.#limit = limit;
    this.#signal = signal;
  }

  has(key: string): boolean {
    return this.#answers.has(key);
  }

  get(key: string): Value | undefined {
    return this.#answers.get(key);
  }

  /** Sees to it that the key will be known; `wake` is called then. */
  want(key: string, wake?: () => void): void {
    const sleepers = this.#sleepers.get(key);
    if (sleepers !== undefined) {
      if (wake !== undefined) sleepers.push(wake);
      return;
    }
    this.#sleepers.set(key, wake === undefined ? [] : [wake]);
    this.#queue.push(key);
    this.#start();
  }

  /** Resolves when an answer has come; rejects when asking failed. */
  nextArrival(): Promise<void> {
    return this.#failure === undefined ? this.#arrival.promise : Promise.reject(this.#failure.error);
  }

  #start(): void {
    while (this.#underWay < this.#limit && this.#next < this.#queue.length) {
      const key = this.#queue[this.#next++] as string;
      this.#underWay += 1;
      this.#ask(key).then(
        (value) => this.#arrived(key, value),
        (error: unknown) => this.#fail(error),
      );
    }
    if (this.#next === this.#queue.length) {
      this.#queue.length = 0;
      this.#next = 0;
    }
  }

  #arrived(key: string, value: Value | undefined): void {
    if (this.#signal?.aborted === true) {
      this.#fail(this.#signal.reason);
      return;
    }
    this.#underWay -= 1;
    this.#answers.set(key, value);
    const sleepers = this.#sleepers.get(key) ?? [];
    this.#sleepers.delete(key);
    for (const wake of sleepers) wake();
    this.#start();
    const arrival = this.#arrival;
    this.#arrival = Promise.withResolvers<void>();
    arrival.resolve();
  }

  /** For good: nothing that comes later is worth waiting for. */
  #fail(error: unknown): void {
    this.#failure ??= { error };
    // Resolved, not rejected: where nobody waits just now, the next who does is told.
    this.#arrival.resolve();
  }
}
