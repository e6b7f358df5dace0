import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GrowingBytes } from './growing-bytes.ts';
import { releaseMemory } from './release-memory.ts';

test('GrowingBytes holds the pieces in their places when the size is known, unknown, or wrong', () => {
  for (const expected of [6, undefined, 1, 100]) {
    const growing = new GrowingBytes(expected);
    growing.put(0, Buffer.from('abc'));
    growing.put(3, Buffer.from('def'));
    assert.equal(growing.bytes.toString(), 'abcdef');
  }
});

test('GrowingBytes forgets what stood behind a piece that begins anew', () => {
  const growing = new GrowingBytes(undefined);
  growing.put(0, Buffer.alloc(200_000, 1));
  growing.put(0, Buffer.from('new'));
  assert.equal(growing.bytes.toString(), 'new');
});

test('releaseMemory empties bytes that own their memory, and leaves those that share it alone', () => {
  const own = Buffer.allocUnsafeSlow(1000);
  releaseMemory(own);
  assert.equal(own.length, 0);
  releaseMemory(own);
  const shared = Buffer.alloc(1000, 7);
  const view = shared.subarray(0, 500);
  releaseMemory(view);
  assert.deepEqual([view.length, shared[0]], [500, 7]);
});
