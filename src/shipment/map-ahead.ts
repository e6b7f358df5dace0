/**
 * Calls `fn` on each item, up to `limit` items ahead of what has been taken, and yields the results in the order of the items. When the
 * consumer stops early, calls that are still running are waited for.
 */
export async function* mapAhead<Item, Result>(
  items: Iterable<Item> | AsyncIterable<Item>,
  limit: number,
  fn: (item: Item) => Promise<Result>,
): AsyncGenerator<Result, void, undefined> {
  const running: Promise<Result>[] = [];
  try {
    for await (const item of items) {
      const call = fn(item);
      // Met when its turn comes; until then a failure must not count as unhandled.
      call.catch(() => {});
      running.push(call);
      if (running.length < limit) continue;
      const first = running.shift();
      if (first !== undefined) yield await first;
    }
    for (let first = running.shift(); first !== undefined; first = running.shift()) yield await first;
  } finally {
    await Promise.allSettled(running);
  }
}
