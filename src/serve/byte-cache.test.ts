import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ByteCache } from './byte-cache.ts';

test('ByteCache drops what was used longest ago when the bytes are more than it may hold', () => {
  const cache = new ByteCache<string>(10);
  cache.set('a', 'A', 4);
  cache.set('b', 'B', 4);
  assert.equal(cache.get('a'), 'A');
  cache.set('c', 'C', 4);
  assert.equal(cache.get('b'), undefined);
  assert.equal(cache.get('a'), 'A');
  assert.equal(cache.get('c'), 'C');
});

test('ByteCache counts a value once when it is set again', () => {
  const cache = new ByteCache<string>(10);
  cache.set('a', 'A', 4);
  for (let round = 0; round < 5; round++) cache.set('b', `B${round}`, 6);
  assert.equal(cache.get('a'), 'A');
  assert.equal(cache.get('b'), 'B4');
});

test('ByteCache frees the bytes when a value is deleted', () => {
  const cache = new ByteCache<string>(10);
  cache.set('a', 'A', 10);
  cache.delete('a');
  cache.delete('a');
  cache.set('b', 'B', 5);
  cache.set('c', 'C', 5);
  assert.equal(cache.get('a'), undefined);
  assert.equal(cache.get('b'), 'B');
});

test('ByteCache does not keep a value when it is larger than the cache', () => {
  const cache = new ByteCache<string>(10);
  cache.set('a', 'A', 5);
  cache.set('a', 'AA', 11);
  assert.equal(cache.get('a'), undefined);
});
