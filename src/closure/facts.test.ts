import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Facts } from './facts.ts';

test('Facts asks at most so many questions at a time, and each once', async () => {
  let underWay = 0;
  let most = 0;
  const asked: string[] = [];
  const facts = new Facts(async (key) => {
    asked.push(key);
    underWay += 1;
    most = Math.max(most, underWay);
    await Promise.resolve();
    underWay -= 1;
    return key.length;
  }, 2);
  const keys = ['a', 'bb', 'ccc', 'dddd', 'bb'];
  await Promise.all(keys.map((key) => new Promise<void>((resolve) => facts.want(key, resolve))));
  assert.deepEqual(asked, ['a', 'bb', 'ccc', 'dddd']);
  assert.equal(most, 2);
  assert.equal(facts.get('ccc'), 3);
});

test('Facts remembers that there is nothing', async () => {
  const facts = new Facts<number>(async () => undefined, 2);
  assert.equal(facts.has('none'), false);
  facts.want('none');
  await facts.nextArrival();
  assert.equal(facts.has('none'), true);
  assert.equal(facts.get('none'), undefined);
});

test('Facts tells whoever waits, also later, that asking failed', async () => {
  const facts = new Facts<number>(async (key) => {
    if (key === 'bad') throw new Error('no route');
    return 1;
  }, 4);
  facts.want('bad');
  facts.want('good');
  await facts.nextArrival();
  await assert.rejects(facts.nextArrival(), /no route/);
  await assert.rejects(facts.nextArrival(), /no route/);
});
