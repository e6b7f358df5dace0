import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { decodeBase64 } from './base64.ts';
import { NixFormatError } from './format-error.ts';

test('decodeBase64 undoes base64 when it is padded or not', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      const text = Buffer.from(bytes).toString('base64');
      assert.deepEqual(decodeBase64(text), Buffer.from(bytes));
      assert.deepEqual(decodeBase64(text.replace(/=+$/, '')), Buffer.from(bytes));
    }),
  );
});

test('decodeBase64 refuses a text when Node would skip over part of it', () => {
  for (const text of ['AA-_', 'AA AA', 'AAAA\n', 'A', 'AAAAA', 'AA=A', 'AAA===', 'ÀAAA', 'AA==AA']) {
    assert.throws(() => decodeBase64(text), NixFormatError, text);
  }
});
