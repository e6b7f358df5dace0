import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatBytes, formatCount, formatDuration, formatTable, parseSize } from './format.ts';

test('formatBytes keeps one digit below a hundred of a unit', () => {
  const shown = [0, 999, 1000, 1_536_000, 99_950_000, 999_499_999, 999_500_000].map(formatBytes);
  assert.deepEqual(shown, ['0 B', '999 B', '1.0 kB', '1.5 MB', '100 MB', '999 MB', '1.0 GB']);
});

test('formatDuration names the two largest units', () => {
  assert.deepEqual([0.4, 59, 61, 7500].map(formatDuration), ['0 s', '59 s', '1 min 1 s', '2 h 5 min']);
});

test('formatCount writes the plural when it is not one', () => {
  assert.deepEqual(
    [0, 1, 12_345].map((n) => formatCount(n, 'path')),
    ['0 paths', '1 path', '12,345 paths'],
  );
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
