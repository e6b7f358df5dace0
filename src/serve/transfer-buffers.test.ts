import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LIMITS } from '../base/limits.ts';
import { TransferBuffers } from './transfer-buffers.ts';

test('TransferBuffers hands out a buffer again when nobody reads it any more, and only then', () => {
  const buffers = new TransferBuffers();
  const first = buffers.take();
  assert.equal(first.length, LIMITS.transferBufferBytes);
  buffers.giveBack(first, true);
  assert.equal(buffers.take(), first);
  buffers.giveBack(first, false);
  assert.notEqual(buffers.take(), first);
});

test('TransferBuffers hands out small buffers when many are in use, and large ones again afterwards', () => {
  const buffers = new TransferBuffers();
  const taken = Array.from({ length: 300 }, () => buffers.take());
  const large = taken.filter(({ length }) => length === LIMITS.transferBufferBytes);
  assert.ok(large.length * LIMITS.transferBufferBytes <= LIMITS.transferBuffersBytes);
  assert.equal(taken.at(-1)?.length, LIMITS.transferBufferLeastBytes);
  for (const buffer of taken) buffers.giveBack(buffer, true);
  assert.equal(buffers.take().length, LIMITS.transferBufferBytes);
});
