import assert from 'node:assert/strict';
import { test } from 'node:test';
import { evaluationsAtOnce } from './memory-bound.ts';

const GIB = 1024 ** 3;

test('evaluationsAtOnce lets as many run as memory is free for, at most one a processor, and always one', () => {
  assert.equal(evaluationsAtOnce(GIB, 16 * GIB, 4), 4);
  assert.equal(evaluationsAtOnce(GIB, 4 * GIB, 4), 2);
  assert.equal(evaluationsAtOnce(8 * GIB, 4 * GIB, 4), 1);
  assert.equal(evaluationsAtOnce(undefined, 6 * GIB, 8), 2);
});
