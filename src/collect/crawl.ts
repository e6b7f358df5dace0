/**
 * Visits everything that can be reached from `seeds`, each item once, with up to `limit` visits under way.
 * @param visit gives the items that this one leads to.
 */
export async function crawl<T>(
  seeds: Iterable<T>,
  limit: number,
  visit: (item: T) => Promise<Iterable<T>>,
): Promise<void> {
  const seen = new Set<T>();
  const waiting: T[] = [];
  const discover = (items: Iterable<T>) => {
    for (const item of items) {
      if (seen.has(item)) continue;
      seen.add(item);
      waiting.push(item);
    }
  };
  discover(seeds);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let underWay = 0;
  let position = 0;
  const go = () => {
    while (underWay < limit && position < waiting.length) {
      const item = waiting[position] as T;
      position += 1;
      underWay += 1;
      visit(item).then((found) => {
        underWay -= 1;
        discover(found);
        go();
      }, reject);
    }
    if (underWay === 0 && position === waiting.length) resolve();
  };
  go();
  await promise;
}
