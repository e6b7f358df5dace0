import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { quoteForShell } from './shell-word.ts';

test('quoteForShell gives what a shell reads as the one word again when the text is anything', () => {
  const texts = [
    'plain',
    'nixpkgs#hello^out',
    '#comment',
    "it's",
    'a b',
    '$HOME `id` $(id)',
    '',
    '*',
    '~',
    '-x',
    'a\nb',
    '!',
  ];
  for (const text of texts) {
    const read = execFileSync('/bin/sh', ['-c', `printf '%s|' ${quoteForShell(text)}`], { encoding: 'utf8' });
    assert.equal(read, `${text}|`);
  }
});
