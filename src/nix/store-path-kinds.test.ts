import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NixFormatError } from './format-error.ts';
import { hashBytes } from './hash.ts';
import { makeFixedOutputPath, makeOutputPath, makeSourcePath, makeTextPath } from './store-path-kinds.ts';

// Found by real Nix 2.8: builtins.toFile, nix-store --print-fixed-path. More of them in test/oracle-formats.test.ts.
const KNOWN_TEXT = '/nix/store/122wgrlc1iw382mwjvyrs7g5vn58df8r-known';
const KNOWN_SOURCE = '/nix/store/10bc3ji7akagpyckaizcw88bx8sw7sks-known';
const KNOWN_FLAT = '/nix/store/5cir87wgr4mbqmq9f0w0n6b5wmbqrgfa-known';
const KNOWN_SHA1 = '/nix/store/4hj6yik3vhqsiq1cmmmlyaix33g4w3rk-known';

const STORE_DIR = '/nix/store';
const SHA256 = hashBytes('sha256', 'known');

test('the store path makers give the paths of real Nix when contents are known', () => {
  assert.equal(makeTextPath('known', SHA256, [], STORE_DIR), KNOWN_TEXT);
  assert.equal(makeSourcePath('known', SHA256, STORE_DIR), KNOWN_SOURCE);
  assert.equal(makeFixedOutputPath('nar', SHA256, 'known', STORE_DIR), KNOWN_SOURCE);
  assert.equal(makeFixedOutputPath('flat', SHA256, 'known', STORE_DIR), KNOWN_FLAT);
  assert.equal(makeFixedOutputPath('nar', hashBytes('sha1', 'known'), 'known', STORE_DIR), KNOWN_SHA1);
});

test('a path changes when name, store folder, references or the reference to itself change', () => {
  const other = makeTextPath('other', SHA256, [], STORE_DIR);
  const paths = [
    makeSourcePath('known', SHA256, STORE_DIR),
    makeSourcePath('known-2', SHA256, STORE_DIR),
    makeSourcePath('known', SHA256, '/gnu/store'),
    makeSourcePath('known', SHA256, STORE_DIR, { references: [other] }),
    makeSourcePath('known', SHA256, STORE_DIR, { hasSelfReference: true }),
    makeSourcePath('known', SHA256, STORE_DIR, { references: [other], hasSelfReference: true }),
  ];
  assert.equal(
    new Set(paths.map((path) => path.slice(path.lastIndexOf('/') + 1, path.lastIndexOf('/') + 33))).size,
    paths.length,
  );
});

test('makeTextPath gives one path when references come in another order or twice', () => {
  const [a, b] = [makeTextPath('a', SHA256, [], STORE_DIR), makeTextPath('b', SHA256, [], STORE_DIR)];
  assert.equal(makeTextPath('c', SHA256, [b, a, b], STORE_DIR), makeTextPath('c', SHA256, [a, b], STORE_DIR));
});

test('makeOutputPath puts the output behind the name when it is not out', () => {
  assert.ok(makeOutputPath('out', SHA256, 'hello', STORE_DIR).endsWith('-hello'));
  assert.ok(makeOutputPath('dev', SHA256, 'hello', STORE_DIR).endsWith('-hello-dev'));
});

test('the store path makers refuse when Nix has no such path', () => {
  const sha1 = hashBytes('sha1', 'known');
  const other = makeTextPath('other', SHA256, [], STORE_DIR);
  assert.throws(() => makeTextPath('known', sha1, [], STORE_DIR), NixFormatError);
  assert.throws(() => makeSourcePath('known', sha1, STORE_DIR), NixFormatError);
  assert.throws(() => makeFixedOutputPath('flat', SHA256, 'known', STORE_DIR, { references: [other] }), NixFormatError);
  assert.throws(() => makeFixedOutputPath('nar', sha1, 'known', STORE_DIR, { hasSelfReference: true }), NixFormatError);
  assert.throws(() => makeSourcePath('a/b', SHA256, STORE_DIR), NixFormatError);
});
