import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseContentRange } from './content-range.ts';

test('parseContentRange reads the three forms', () => {
  assert.deepEqual(parseContentRange('bytes 5-9/10'), { range: { start: 5, end: 9 }, totalBytes: 10 });
  assert.deepEqual(parseContentRange('bytes 5-9/*'), { range: { start: 5, end: 9 }, totalBytes: undefined });
  assert.deepEqual(parseContentRange('bytes */10'), { range: undefined, totalBytes: 10 });
});

test('parseContentRange refuses what contradicts itself or is something else', () => {
  const bad = [
    undefined,
    '',
    'bytes',
    'bytes 9-5/10',
    'bytes 5-10/10',
    'bytes */*',
    'items 0-1/2',
    'bytes -1-2/3',
    '0-1/2',
  ];
  for (const value of bad) assert.equal(parseContentRange(value), undefined, String(value));
});
