import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Batches } from './batches.ts';

test('Batches asks once for everything that is wanted in the same turn, and each key once', async () => {
  const asked: (readonly string[])[] = [];
  const batches = new Batches(async (keys: readonly string[]) => {
    asked.push(keys);
    return new Map(keys.filter((key) => key !== 'none').map((key) => [key, key.length]));
  });
  const answers = await Promise.all(['a', 'bb', 'a', 'none'].map((key) => batches.get(key)));
  assert.deepEqual(answers, [1, 2, 1, undefined]);
  assert.deepEqual(asked, [['a', 'bb', 'none']]);
});

test('Batches gathers what is asked while a batch is under way into the next one', async () => {
  const asked: (readonly string[])[] = [];
  const first = Promise.withResolvers<void>();
  const batches = new Batches(async (keys: readonly string[]) => {
    asked.push(keys);
    if (asked.length === 1) await first.promise;
    return new Map(keys.map((key) => [key, key]));
  });
  const one = batches.get('one');
  while (asked.length === 0) await new Promise((resolve) => setImmediate(resolve));
  const others = [batches.get('two'), batches.get('three')];
  first.resolve();
  assert.deepEqual(await Promise.all([one, ...others]), ['one', 'two', 'three']);
  assert.deepEqual(asked, [['one'], ['two', 'three']]);
});

test('Batches rejects only those whose batch failed', async () => {
  let calls = 0;
  const batches = new Batches(async (keys: readonly string[]) => {
    calls += 1;
    if (calls === 1) throw new Error('no answer');
    return new Map(keys.map((key) => [key, key]));
  });
  await assert.rejects(batches.get('one'), /no answer/);
  assert.equal(await batches.get('one'), 'one');
});
