import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as nix from './index.ts';

test('the barrel offers parser and formatter of each format', () => {
  const formats = [
    'CacheInfo',
    'ContentAddress',
    'Derivation',
    'Hash',
    'NarInfo',
    'NarListing',
    'PublicKey',
    'Realisation',
    'RealisationPath',
    'SecretKey',
  ];
  const names = new Set(Object.keys(nix));
  for (const format of formats) {
    assert.ok(names.has(`parse${format}`), `parse${format}`);
    assert.ok(names.has(`format${format}`), `format${format}`);
  }
  assert.ok(names.has('readNar') && names.has('writeNar'));
});

test('every error of a parser can be caught by the class that the barrel offers', () => {
  assert.throws(() => nix.parseNarInfo('', nix.DEFAULT_STORE_DIR), nix.NixFormatError);
  assert.throws(() => nix.parseStorePath('x', nix.DEFAULT_STORE_DIR), nix.NixFormatError);
});
