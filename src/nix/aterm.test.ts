import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { formatQuoted, openAterm, readList, readQuoted, readTuple, skipToken } from './aterm.ts';
import { NixFormatError } from './format-error.ts';

test('readQuoted undoes formatQuoted when texts are any', () => {
  const any = fc.integer({ min: 0, max: 0xffff }).map((code) => String.fromCharCode(code));
  const text = fc.string({ unit: fc.oneof(fc.constantFrom('\\', '"', '\n', '\r', '\t', 'n'), any) });
  fc.assert(
    fc.property(text, text, (a, b) => {
      const reader = openAterm(`(${formatQuoted(a)},${formatQuoted(b)})`);
      assert.deepEqual(readTuple(reader, 2), [a, b]);
      assert.equal(reader.position, reader.text.length);
    }),
  );
});

test('formatQuoted escapes the five characters that Nix escapes and no other', () => {
  assert.equal(formatQuoted('a"b\\c\nd\re\tf\0g\bü$'), '"a\\"b\\\\c\\nd\\re\\tf\0g\bü$"');
});

test('readQuoted lets a backslash stand for the character behind it when that is none of n, r, t', () => {
  assert.equal(readQuoted(openAterm('"\\a\\$\\u0041\\0"')), 'a$u00410');
});

test('readQuoted refuses when a string does not end', () => {
  for (const text of ['', 'a', '"', '"a', '"\\"', '"\\', '"a\\"b'])
    assert.throws(() => readQuoted(openAterm(text)), NixFormatError, text);
});

test('readList refuses when brackets or commas are not where they belong', () => {
  for (const text of ['', '[', '["a"', '["a",]', '[,"a"]', '["a" "b"]', '[ ]', '("a")']) {
    const reader = openAterm(text);
    assert.throws(() => readList(reader, () => readQuoted(reader)), NixFormatError, text);
  }
});

test('skipToken moves on only when the token is next', () => {
  const reader = openAterm('Derive(');
  assert.equal(skipToken(reader, 'derive'), false);
  assert.equal(reader.position, 0);
  assert.equal(skipToken(reader, 'Derive'), true);
  assert.equal(reader.position, 6);
});
