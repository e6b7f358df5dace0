import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NixFormatError, quoteForMessage } from './format-error.ts';

test('NixFormatError says format and offset when both are known', () => {
  const error = new NixFormatError('narinfo', 'URL is missing', 12);
  assert.equal(error.message, 'narinfo, offset 12: URL is missing');
  assert.equal(error.format, 'narinfo');
  assert.equal(error.position, 12);
  assert.equal(new NixFormatError('hash', 'no').message, 'hash: no');
});

test('quoteForMessage leaves nothing that a terminal obeys when text holds control characters', () => {
  assert.equal(quoteForMessage('a\u001b[2J\n\u0000\u007f\u009b'), '"a\\u001b[2J\\n\\u0000\\u007f\\u009b"');
});

test('quoteForMessage shortens when text is long', () => {
  const quoted = quoteForMessage('x'.repeat(10_000));
  assert.ok(quoted.length < 150);
  assert.ok(quoted.endsWith('…"'));
});
