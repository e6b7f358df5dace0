import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mapAhead } from './map-ahead.ts';

test('mapAhead yields in order and runs no more than its limit when calls finish out of order', async () => {
  let running = 0;
  let most = 0;
  const results: number[] = [];
  const double = async (item: number): Promise<number> => {
    most = Math.max(most, ++running);
    for (let turns = 10 - item; turns > 0; turns--) await Promise.resolve();
    running--;
    return item * 2;
  };
  for await (const result of mapAhead([1, 2, 3, 4, 5, 6, 7], 3, double)) results.push(result);
  assert.deepEqual(results, [2, 4, 6, 8, 10, 12, 14]);
  assert.equal(most, 3);
});

test('mapAhead throws at the place of the item that failed', async () => {
  const results: number[] = [];
  await assert.rejects(async () => {
    for await (const result of mapAhead([1, 2, 3], 3, failAtTwo)) results.push(result);
  }, /two/);
  assert.deepEqual(results, [1]);
});

async function failAtTwo(item: number): Promise<number> {
  if (item === 2) throw new Error('two');
  return item;
}
