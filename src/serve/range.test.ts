import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { parseRange } from './range.ts';

test('parseRange gives first and last byte when one range lies in the file', () => {
  assert.deepEqual(parseRange('bytes=0-0', 10), { start: 0, end: 0 });
  assert.deepEqual(parseRange('bytes=3-', 10), { start: 3, end: 9 });
  assert.deepEqual(parseRange('Bytes=3-5', 10), { start: 3, end: 5 });
  assert.deepEqual(parseRange('bytes=3-99', 10), { start: 3, end: 9 });
  assert.deepEqual(parseRange('bytes=-4', 10), { start: 6, end: 9 });
  assert.deepEqual(parseRange('bytes=-40', 10), { start: 0, end: 9 });
});

test('parseRange says unsatisfiable when the range begins behind the end', () => {
  assert.equal(parseRange('bytes=10-', 10), 'unsatisfiable');
  assert.equal(parseRange('bytes=10-12', 10), 'unsatisfiable');
  assert.equal(parseRange('bytes=-0', 10), 'unsatisfiable');
  assert.equal(parseRange('bytes=0-', 0), 'unsatisfiable');
  assert.equal(parseRange('bytes=99999999999999999999999999-', 10), 'unsatisfiable');
});

test('parseRange asks for the whole file when the header is none, several ranges, or nonsense', () => {
  for (const header of [
    undefined,
    '',
    'bytes',
    'bytes=',
    'bytes=-',
    'bytes=5-3',
    'bytes=0-1,3-4',
    'items=0-1',
    'bytes=a-b',
  ]) {
    assert.equal(parseRange(header, 10), undefined, String(header));
  }
  assert.equal(parseRange('bytes=-5', 0), undefined);
});

test('parseRange stays within the file when the numbers are any', () => {
  const part = fc.option(fc.bigInt({ min: 0n, max: 2n ** 70n }), { nil: '' as const });
  fc.assert(
    fc.property(part, part, fc.nat({ max: 2 ** 31 - 1 }), (first, last, sizeBytes) => {
      const range = parseRange(`bytes=${first}-${last}`, sizeBytes);
      if (typeof range !== 'object') return;
      assert.ok(0 <= range.start && range.start <= range.end && range.end < sizeBytes);
    }),
  );
});
