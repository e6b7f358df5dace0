import assert from 'node:assert/strict';
import { test } from 'node:test';
import { contentAddressNamesPath, formatContentAddress, parseContentAddress, storePathOf } from './content-address.ts';
import { NixFormatError } from './format-error.ts';
import { formatHash, hashBytes } from './hash.ts';
import { makeSourcePath, makeTextPath } from './store-path-kinds.ts';

const STORE_DIR = '/nix/store';
const SHA256 = hashBytes('sha256', 'contents');
const SHA1 = hashBytes('sha1', 'contents');
const OTHER = makeTextPath('other', SHA256, [], STORE_DIR);

test('parseContentAddress reads each method when its hash is spelt in any way', () => {
  for (const encoding of ['nix32', 'base16', 'base64'] as const) {
    assert.deepEqual(parseContentAddress(`text:${formatHash(SHA256, encoding)}`), { method: 'text', hash: SHA256 });
    assert.deepEqual(parseContentAddress(`fixed:${formatHash(SHA1, encoding)}`), { method: 'flat', hash: SHA1 });
    assert.deepEqual(parseContentAddress(`fixed:r:${formatHash(SHA256, encoding)}`), { method: 'nar', hash: SHA256 });
  }
});

test('formatContentAddress gives back what Nix wrote', () => {
  for (const text of [
    `text:${SHA256}`,
    `fixed:${SHA1}`,
    `fixed:r:${SHA256}`,
    'fixed:git:sha1:abc',
    'later:what',
    'fixed:r:blake3:xyz',
  ]) {
    assert.equal(formatContentAddress(parseContentAddress(text)), text);
  }
});

test('parseContentAddress keeps what later Nix may know as unknown, and no path follows from it', () => {
  for (const text of ['fixed:git:sha1:abc', 'later:what', 'fixed:r:blake3:xyz', 'fixed:r:r:sha256:x']) {
    const address = parseContentAddress(text);
    assert.deepEqual(address, { method: 'unknown', text });
    assert.equal(storePathOf(address, 'name', [], false, STORE_DIR), undefined);
  }
});

test('parseContentAddress refuses a known method when its hash is not sound', () => {
  for (const text of [
    '',
    'text',
    'text:',
    `text:${SHA1}`,
    'fixed:',
    'fixed:sha256',
    'fixed:sha256:',
    'fixed:r:sha256:abc',
    `fixed:${SHA256}0`,
    `fixed:${formatHash(SHA256, 'sri')}`,
  ]) {
    assert.throws(() => parseContentAddress(text), NixFormatError, text);
  }
});

test('storePathOf gives no path when the method does not carry such references', () => {
  assert.equal(storePathOf({ method: 'flat', hash: SHA256 }, 'name', [OTHER], false, STORE_DIR), undefined);
  assert.equal(storePathOf({ method: 'nar', hash: SHA1 }, 'name', [OTHER], false, STORE_DIR), undefined);
  assert.equal(storePathOf({ method: 'nar', hash: SHA1 }, 'name', [], true, STORE_DIR), undefined);
  assert.equal(storePathOf({ method: 'text', hash: SHA256 }, 'name', [], true, STORE_DIR), undefined);
});

test('contentAddressNamesPath finds the reference to itself when it is among the references', () => {
  const address = { method: 'nar', hash: SHA256 } as const;
  const path = makeSourcePath('self', SHA256, STORE_DIR, { references: [OTHER], hasSelfReference: true });
  assert.equal(contentAddressNamesPath(address, path, [path, OTHER]), true);
  assert.equal(contentAddressNamesPath(address, path, [OTHER, path]), true);
  assert.equal(contentAddressNamesPath(address, path, [OTHER]), false);
  assert.equal(contentAddressNamesPath(address, path, [path]), false);
  assert.equal(
    contentAddressNamesPath({ method: 'nar', hash: hashBytes('sha256', 'changed') }, path, [path, OTHER]),
    false,
  );
  assert.equal(contentAddressNamesPath({ method: 'flat', hash: SHA256 }, path, []), false);
});
