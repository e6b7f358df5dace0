import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { fakeStorePath } from '../../test/support/fake-paths.ts';
import type { StorePath } from '../nix/store-path.ts';
import { orderForPublishing, type Referrer } from './publish-order.ts';

const item = (name: string, ...references: string[]): Referrer => ({
  storePath: fakeStorePath(name),
  references: references.map((reference) => fakeStorePath(reference)),
});
const nothingVisible = (): boolean => false;

test('orderForPublishing puts references first when they form a diamond', () => {
  const { levels, refused } = orderForPublishing(
    [item('top', 'left', 'right'), item('left', 'bottom'), item('right', 'bottom', 'left'), item('bottom', 'bottom')],
    nothingVisible,
  );
  assert.deepEqual(levels, [
    [item('bottom', 'bottom')],
    [item('left', 'bottom')],
    [item('right', 'bottom', 'left')],
    [item('top', 'left', 'right')],
  ]);
  assert.deepEqual(refused, []);
});

test('orderForPublishing refuses a missing reference and all that depend on it', () => {
  const { levels, refused } = orderForPublishing(
    [item('a', 'gone', 'here'), item('b', 'a'), item('c', 'here'), item('d', 'b', 'also-gone')],
    (path) => path === fakeStorePath('here'),
  );
  assert.deepEqual(levels, [[item('c', 'here')]]);
  const reasons = refused.map(({ item: { storePath }, reason, missing }) => [storePath, reason, missing]);
  const both = [fakeStorePath('b'), fakeStorePath('also-gone')].toSorted();
  assert.deepEqual(reasons, [
    [fakeStorePath('a'), 'reference-missing', [fakeStorePath('gone')]],
    [fakeStorePath('b'), 'reference-refused', [fakeStorePath('a')]],
    [fakeStorePath('d'), 'reference-missing', both],
  ]);
});

test('orderForPublishing tells those in a cycle from those that refer to it', () => {
  const { levels, refused } = orderForPublishing(
    [item('a', 'b'), item('b', 'c'), item('c', 'a', 'leaf'), item('user', 'a'), item('leaf')],
    nothingVisible,
  );
  assert.deepEqual(levels, [[item('leaf')]]);
  assert.deepEqual(
    refused.map(({ reason }) => reason),
    ['reference-cycle', 'reference-cycle', 'reference-cycle', 'reference-refused'],
  );
});

test('orderForPublishing takes a reference for missing when only its hash part is known', () => {
  const hash = fakeStorePath('a').slice(0, -1);
  const renamed = { storePath: fakeStorePath('user'), references: [`${hash}other` as StorePath] };
  const { refused } = orderForPublishing([item('a'), renamed], nothingVisible);
  assert.deepEqual(refused[0]?.missing, renamed.references);
});

test('orderForPublishing does not run out of stack when the chain is long', () => {
  const names = Array.from({ length: 20_000 }, (_, index) => `n${index}`);
  const ring = names.map((name, index) => item(name, names[(index + 1) % names.length] ?? ''));
  assert.equal(orderForPublishing(ring, nothingVisible).refused.length, names.length);
  assert.equal(orderForPublishing(ring.slice(1), (path) => path === fakeStorePath('n0')).levels.length, 19_999);
});

test('orderForPublishing publishes exactly what can be complete when the graph is random', () => {
  const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
  const graph = fc.array(fc.record({ references: fc.subarray([...names, 'visible', 'gone']) }), { maxLength: 7 });
  fc.assert(
    fc.property(graph, (nodes) => {
      const items = nodes.map(({ references }, index) => item(names[index] ?? '', ...references));
      const { levels, refused } = orderForPublishing(items, (path) => path === fakeStorePath('visible'));
      const placed = new Set<StorePath>([fakeStorePath('visible')]);
      for (const level of levels) {
        for (const { storePath, references } of level) {
          assert.ok(references.every((reference) => reference === storePath || placed.has(reference)));
        }
        for (const { storePath } of level) placed.add(storePath);
      }
      assert.equal(levels.flat().length + refused.length, items.length);
      // Nothing that could have been published was refused.
      for (const { item: left, missing } of refused) {
        assert.ok(missing.length > 0);
        assert.deepEqual(
          missing,
          [...new Set(left.references)].filter((path) => path !== left.storePath && !placed.has(path)).toSorted(),
        );
      }
    }),
  );
});
