import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { BASE32_ALPHABET } from './base32.ts';
import { NixFormatError } from './format-error.ts';
import {
  baseNameOf,
  hashPartOf,
  isHashPart,
  nameOf,
  parseHashPart,
  parseStorePath,
  type StorePath,
  storeDirOf,
  storePathFromBaseName,
} from './store-path.ts';

const HASH_PART = 'q1dmr29w0zxkqykmqb4yjmsalz1pbg7n';

const hashPart = fc
  .array(fc.constantFrom(...BASE32_ALPHABET), { minLength: 32, maxLength: 32 })
  .map((all) => all.join(''));
const nameCharacter = fc.constantFrom(...'abcXYZ019+-._?=');
const name = fc.array(nameCharacter, { maxLength: 40 }).map((all) => `n${all.join('')}`);
const storeDir = fc.constantFrom('/nix/store', '/gnu/store', '/s', '/a/b/c');

test('parseStorePath takes a path apart again when it was put together from any parts', () => {
  fc.assert(
    fc.property(hashPart, name, storeDir, (digits, words, folder) => {
      const path = parseStorePath(`${folder}/${digits}-${words}`, folder);
      assert.equal(storeDirOf(path), folder);
      assert.equal(baseNameOf(path), `${digits}-${words}`);
      assert.equal(hashPartOf(path), digits);
      assert.equal(hashPartOf(baseNameOf(path)), digits);
      assert.equal(nameOf(path), words);
      assert.equal(nameOf(baseNameOf(path)), words);
      assert.equal(storePathFromBaseName(`${digits}-${words}`, folder), path);
    }),
  );
});

test('parseStorePath refuses a path when it is not one directly in the store folder', () => {
  const good = `/nix/store/${HASH_PART}-hello`;
  const refused = [
    '',
    '/nix/store',
    '/nix/store/',
    `/nix/store/${HASH_PART}`,
    `/nix/store/${HASH_PART}-`,
    `/nix/store/${HASH_PART}_hello`,
    `/nix/store//${HASH_PART}-hello`,
    `/nix/store/../store/${HASH_PART}-hello`,
    `/nix/stores/${HASH_PART}-hello`,
    `/nix/store-${HASH_PART}-hello`,
    `/gnu/store/${HASH_PART}-hello`,
    `${HASH_PART}-hello`,
    `${good}/bin`,
    `${good}/`,
    `${good}\n`,
    `${good}\r`,
    `${good}\0`,
    ` ${good}`,
    good.replace('q1', 'e1'),
    good.replace('q1', 'Q1'),
    good.replace('hello', 'héllo'),
  ];
  assert.equal(parseStorePath(good, '/nix/store'), good);
  for (const text of refused)
    assert.throws(() => parseStorePath(text, '/nix/store'), NixFormatError, JSON.stringify(text));
});

test('storePathFromBaseName keeps to the rules for names when they touch their edges', () => {
  for (const good of ['x'.repeat(211), '.a', '..a', '...', '...-a', '-', '+-._?=', '0'])
    assert.equal(nameOf(named(good)), good);
  for (const bad of ['x'.repeat(212), '.', '..', '.-a', '..-a', 'a b', 'a/b', 'a!', ''])
    assert.throws(() => named(bad), NixFormatError, bad);
});

test('storePathFromBaseName never lets a name leave the store folder', () => {
  for (const text of [`${HASH_PART}-../../etc`, `../${HASH_PART}-a`, `${HASH_PART}-a/../../b`]) {
    assert.throws(() => storePathFromBaseName(text, '/nix/store'), NixFormatError);
  }
});

test('isHashPart holds when text is exactly 32 digits', () => {
  assert.equal(isHashPart(HASH_PART), true);
  assert.equal(parseHashPart(HASH_PART), HASH_PART);
  for (const text of [
    '',
    HASH_PART.slice(1),
    `${HASH_PART}0`,
    HASH_PART.replace('q', 'u'),
    HASH_PART.toUpperCase(),
    `${HASH_PART.slice(1)}\n`,
  ]) {
    assert.equal(isHashPart(text), false);
    assert.throws(() => parseHashPart(text), NixFormatError);
  }
});

function named(text: string): StorePath {
  return storePathFromBaseName(`${HASH_PART}-${text}`, '/nix/store');
}
