import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatBytes, formatCount } from './amounts.ts';

test('formatBytes keeps one digit below a hundred of a unit', () => {
  const shown = [0, 999, 1000, 1_536_000, 99_950_000, 999_499_999, 999_500_000].map(formatBytes);
  assert.deepEqual(shown, ['0 B', '999 B', '1.0 kB', '1.5 MB', '100 MB', '999 MB', '1.0 GB']);
});

test('formatCount writes the plural when it is not one', () => {
  assert.deepEqual(
    [0, 1, 12_345].map((n) => formatCount(n, 'path')),
    ['0 paths', '1 path', '12,345 paths'],
  );
});
