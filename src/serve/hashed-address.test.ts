import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatHash, hashBytes } from '../nix/hash.ts';
import { parseHashedAddress } from './hashed-address.ts';

for (const algorithm of ['md5', 'sha1', 'sha256', 'sha512'] as const) {
  // The text has been chosen for the digests in base64 to hold + and / both.
  const hash = hashBytes(algorithm, 'file 1030');
  const spelled = (encoding: 'base16' | 'nix32' | 'base64' | 'sri') => formatHash(hash, encoding, { prefix: false });

  test(`parseHashedAddress reads ${algorithm} when it is spelled as either client does`, () => {
    const sri = spelled('sri');
    for (const address of [
      ...(['base16', 'nix32', 'base64'] as const).map((encoding) => `${algorithm}/${spelled(encoding)}`),
      `/${sri}`,
      `//${sri}`.slice(1),
      sri,
      `${algorithm}/${sri}`,
      encodeURIComponent(sri),
      `${algorithm}/${encodeURIComponent(spelled('base64'))}`,
      `${algorithm}/${spelled('base16')}?name=file`,
      `${algorithm}:${spelled('base16')}`,
    ]) {
      assert.equal(parseHashedAddress(address), hash, address);
    }
  });
}

test('parseHashedAddress finds no hash when there is none', () => {
  const { length } = formatHash(hashBytes('sha256', ''), 'base16', { prefix: false });
  for (const address of [
    '',
    '/',
    'sha256',
    'sha256/',
    `sha256/${'0'.repeat(length - 1)}`,
    `sha1/${'0'.repeat(length)}`,
    `${'0'.repeat(length)}`,
    `/${'0'.repeat(length)}`,
    `blake3/${'0'.repeat(length)}`,
    `sha256/../${'0'.repeat(length)}`,
    `sha256/sha512-${'0'.repeat(44)}`,
    'sha256/%ff',
    'sha256/%',
  ]) {
    assert.equal(parseHashedAddress(address), undefined, address);
  }
});
