import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { crawl } from './crawl.ts';

test('crawl visits each item once when items lead to each other in circles', async () => {
  const graph: Record<string, string[]> = { a: ['b', 'c'], b: ['c', 'a'], c: ['a'] };
  const visited: string[] = [];
  await crawl(['a', 'a'], 10, async (item) => {
    visited.push(item);
    return graph[item] ?? [];
  });
  assert.deepEqual(visited.sort(), ['a', 'b', 'c']);
});

test('crawl keeps to the limit and uses all of it', async () => {
  let underWay = 0;
  let most = 0;
  await crawl(
    Array.from({ length: 50 }, (_, i) => i),
    7,
    async () => {
      underWay += 1;
      most = Math.max(most, underWay);
      await setImmediate();
      underWay -= 1;
      return [];
    },
  );
  assert.equal(most, 7);
});

test('crawl ends at once when there is nothing to visit', async () => {
  await crawl([], 5, async () => assert.fail('nothing to visit'));
});

test('crawl fails when a visit fails', async () => {
  await assert.rejects(
    crawl([1], 5, async () => {
      throw new Error('no');
    }),
    /no/,
  );
});
