import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { parsePublicKey } from '../nix/index.ts';
import { fingerprintWords } from './fingerprint-words.ts';
import { WORD_LIST } from './word-list.ts';

const KEY = 'cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=';

test('fingerprintWords gives the same words for ever when the key is the same', () => {
  assert.equal(
    fingerprintWords(parsePublicKey(KEY)).join(' '),
    'freezer cobra beaver bottle iron carpet comet planet balcony pelican',
  );
});

test('fingerprintWords gives other words when only the name differs', () => {
  const renamed = parsePublicKey(KEY.replace('cache.nixos.org-1', 'cache.nixos.org-2'));
  assert.notDeepEqual(fingerprintWords(renamed), fingerprintWords(parsePublicKey(KEY)));
});

test('WORD_LIST never changes, since people compare words that were written down years ago', () => {
  assert.equal(WORD_LIST.length, 256);
  assert.equal(
    createHash('sha256').update(WORD_LIST.join(' ')).digest('hex'),
    'c475955433fcea12464a9120d73b7e7630fff4d6a0693d3b5b62852d98e35679',
  );
});

test('WORD_LIST keeps its words apart when they are read out or cut short', () => {
  assert.equal(new Set(WORD_LIST.map((word) => word.slice(0, 4))).size, 256);
  for (const word of WORD_LIST) assert.match(word, /^[a-z]{3,8}$/);
});
