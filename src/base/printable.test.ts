import assert from 'node:assert/strict';
import { test } from 'node:test';
import { printable, printableUpTo } from './printable.ts';

test('printable escapes what steers a terminal or hides when a name holds it', () => {
  assert.equal(printable('\u001b[2Jclean\r\nline'), '\\u{1b}[2Jclean\\u{d}\\u{a}line');
  assert.equal(printable('\u009b31m'), '\\u{9b}31m', 'the one-byte form of ESC [');
  assert.equal(printable('a\u202egpj.exe'), 'a\\u{202e}gpj.exe', 'right-to-left override');
  assert.equal(printable('zero\u200bwidth\ufeff'), 'zero\\u{200b}width\\u{feff}');
  assert.equal(printable('a\u2028b\u00a0c'), 'a\\u{2028}b\\u{a0}c');
  assert.equal(printable('half \ud83d'), 'half \\u{d83d}');
});

test('printable leaves a text as it is when it consists of letters, signs and spaces', () => {
  for (const text of ['hello 2.12', 'nixpkgs#hello', 'Grüße, 你好, Привет, 😀', '<b>&"\''])
    assert.equal(printable(text), text);
});

test('printableUpTo says how much it leaves out when a text is long', () => {
  assert.equal(printableUpTo('abcdef', 6), 'abcdef');
  assert.equal(printableUpTo('abcdef', 2), 'ab… (4 more characters)');
});
