import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatDuration, formatTable, parseSize } from './format.ts';

test('formatDuration names the two largest units', () => {
  assert.deepEqual([0.4, 59, 61, 7500].map(formatDuration), ['0 s', '59 s', '1 min 1 s', '2 h 5 min']);
});

test('parseSize reads decimal and binary units, and refuses what is no size', () => {
  const read = ['512MiB', '4.7GB', '1000', '1 k', '-1', '1.2.3', 'GB', '9'.repeat(30)].map(parseSize);
  assert.deepEqual(read, [536_870_912, 4_700_000_000, 1000, 1000, undefined, undefined, undefined, undefined]);
});

test('formatTable pads columns and leaves no blanks at line ends', () => {
  const table = formatTable(
    [
      ['a', '10'],
      ['long', '5'],
    ],
    [1],
  );
  assert.equal(table, 'a     10\nlong   5');
});
