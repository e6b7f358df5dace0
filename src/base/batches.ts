/**
 * Turns questions about single things into questions about many: what is asked while a batch is under way, or within the same
 * turn of the event loop, is asked together next.
 */
export class Batches<Key, Answer> {
  readonly #ask: (keys: readonly Key[]) => Promise<ReadonlyMap<Key, Answer>>;
  #waiting: { readonly key: Key; readonly settle: PromiseWithResolvers<Answer | undefined> }[] = [];
  #running = false;

  /** @param ask is never called while an earlier call is under way. */
  constructor(ask: (keys: readonly Key[]) => Promise<ReadonlyMap<Key, Answer>>) {
    this.#ask = ask;
  }

  /** Undefined when the answer says nothing of the key. */
  get(key: Key): Promise<Answer | undefined> {
    const settle = Promise.withResolvers<Answer | undefined>();
    this.#waiting.push({ key, settle });
    if (!this.#running) void this.#run();
    return settle.promise;
  }

  async #run(): Promise<void> {
    this.#running = true;
    // Whoever asks in this turn of the loop comes along.
    await new Promise<void>((resolve) => setImmediate(resolve));
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      try {
        const answers = await this.#ask([...new Set(batch.map(({ key }) => key))]);
        for (const { key, settle } of batch) settle.resolve(answers.get(key));
      } catch (error) {
        for (const { settle } of batch) settle.reject(error);
      }
    }
    this.#running = false;
  }
}
