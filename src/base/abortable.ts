/**
 * Passes `source` on until the signal aborts, and then throws its reason at once, even while the source has stalled and does
 * not know of the signal. The source is closed in every case; only after an abort is its closing not waited for.
 */
export async function* abortable<Chunk>(
  source: AsyncIterable<Chunk>,
  signal: AbortSignal,
): AsyncGenerator<Chunk, void, undefined> {
  const iterator = source[Symbol.asyncIterator]();
  let ended = false;
  try {
    for (;;) {
      const next = await orAbort(iterator.next(), signal);
      if (next.done === true) {
        ended = true;
        return;
      }
      yield next.value;
    }
  } catch (error) {
    ended = !signal.aborted;
    throw error;
  } finally {
    if (signal.aborted) closeInBackground(iterator);
    else if (!ended) await iterator.return?.();
  }
}

/** Tells a source that no more is wanted, when nobody can wait for it; what goes wrong with closing concerns nobody. */
export function closeInBackground(iterator: AsyncIterator<unknown>): void {
  iterator.return?.().then(undefined, () => {});
}

/** Settles like `promise`, or rejects with the signal's reason as soon as it aborts. */
export function orAbort<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason);
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
