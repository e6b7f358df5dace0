import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { MOST_STORED_BYTES, storeAsXz } from './xz-stored.ts';

for (const sizeBytes of [1, 2, 3, 4, 5, 107, 108, 109, 127, 128, 16_383, 16_384, MOST_STORED_BYTES]) {
  test(`storeAsXz gives what xz decodes to the same ${sizeBytes} bytes, in whole words`, () => {
    const bytes = randomBytes(sizeBytes);
    const stored = storeAsXz(bytes);
    assert.equal(stored.length % 4, 0);
    assert.ok(execFileSync('xz', ['--decompress', '--stdout'], { input: stored }).equals(bytes));
  });
}

test('storeAsXz refuses no bytes, and more than fit into a chunk', () => {
  for (const sizeBytes of [0, MOST_STORED_BYTES + 1]) {
    assert.throws(() => storeAsXz(Buffer.alloc(sizeBytes)), RangeError);
  }
});
