import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ByteCache } from './byte-cache.ts';

test('ByteCache drops what was not used for long when the bytes are more than it may hold', () => {
  const cache = new ByteCache<string>(20);
  cache.set('a', 'A', 5);
  cache.set('b', 'B', 5);
  cache.set('c', 'C', 5);
  assert.equal(cache.get('a'), 'A');
  cache.set('d', 'D', 5);
  assert.equal(cache.get('b'), undefined);
  assert.equal(cache.get('a'), 'A');
  assert.equal(cache.get('c'), 'C');
  assert.equal(cache.get('d'), 'D');
});

test('ByteCache never holds more bytes than it may, and keeps what is asked for all the time', () => {
  const cache = new ByteCache<WeakKey>(100);
  cache.set('always', {}, 10);
  for (let index = 0; index < 200; index++) {
    cache.set(`key ${index}`, {}, 10);
    assert.notEqual(cache.get('always'), undefined, `after ${index}`);
  }
  // From the oldest on, so that looking does not bring forward what is looked for next.
  const held = Array.from({ length: 200 }, (_, index) => cache.get(`key ${index}`)).filter(
    (value) => value !== undefined,
  );
  assert.ok(held.length >= 4 && held.length <= 9, `${held.length} values of 10 bytes beside the one of always`);
});

test('ByteCache counts a value once when it is set again', () => {
  const cache = new ByteCache<string>(20);
  cache.set('a', 'A', 4);
  for (let round = 0; round < 50; round++) cache.set('b', `B${round}`, 6);
  assert.equal(cache.get('a'), 'A');
  assert.equal(cache.get('b'), 'B49');
});

test('ByteCache frees the bytes when a value is deleted', () => {
  const cache = new ByteCache<string>(20);
  for (let round = 0; round < 50; round++) {
    cache.set('a', 'A', 10);
    cache.delete('a');
    cache.delete('a');
    assert.equal(cache.get('a'), undefined);
  }
  cache.set('b', 'B', 5);
  cache.set('c', 'C', 5);
  assert.deepEqual([cache.get('b'), cache.get('c')], ['B', 'C']);
});

test('ByteCache forgets a value that is set again to one that is larger than it keeps', () => {
  const cache = new ByteCache<string>(20);
  cache.set('a', 'A', 5);
  cache.set('a', 'AA', 11);
  assert.equal(cache.get('a'), undefined);
});
