import assert from 'node:assert/strict';
import { test } from 'node:test';
import { showUrl } from './shown-url.ts';

test('showUrl leaves out user names, passwords, query and fragment', () => {
  assert.equal(showUrl('https://me:secret@example.org/a/b?token=secret#secret'), 'https://example.org/a/b?…');
  assert.equal(showUrl('https://example.org/a'), 'https://example.org/a');
});

test('showUrl shows nothing of what is no URL, for it may hold anything', () => {
  assert.equal(showUrl('//me:secret@host'), 'an address that is no URL');
});
