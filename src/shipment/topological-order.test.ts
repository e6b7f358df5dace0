import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NixferryError } from '../base/errors.ts';
import { topologicalOrder } from './topological-order.ts';

test('topologicalOrder puts references first and keeps what a start needs together', () => {
  const references = [[3], [], [1, 2], [3], [0, 2]];
  assert.deepEqual(
    topologicalOrder([2, 4], 5, (node) => references[node] ?? []),
    [1, 2, 3, 0, 4],
  );
});

test('topologicalOrder manages a chain of a million references', () => {
  const order = topologicalOrder([999_999], 1_000_000, (node) => (node === 0 ? [] : [node - 1]));
  assert.equal(order.length, 1_000_000);
  assert.equal(order[0], 0);
});

test('topologicalOrder throws damage when paths refer to each other in a circle', () => {
  const references = [[1], [2], [0]];
  assert.throws(
    () => topologicalOrder([0], 3, (node) => references[node] ?? []),
    (error) => error instanceof NixferryError && error.code === 'damage',
  );
});
