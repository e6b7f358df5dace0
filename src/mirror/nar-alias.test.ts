import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hashBytes } from '../nix/hash.ts';
import { parseHashPart } from '../nix/store-path.ts';
import { isAliasOf, narAliasName, parseNarAlias } from './nar-alias.ts';

const hashPart = parseHashPart('0'.repeat(32));
const narHash = hashBytes('sha256', 'contents');

test('parseNarAlias reads what narAliasName wrote', () => {
  for (const compression of ['none', 'xz', 'zstd', 'bzip2', 'gzip', 'br'] as const) {
    const alias = parseNarAlias(narAliasName(hashPart, narHash, compression));
    assert.equal(alias?.hashPart, hashPart);
    assert.equal(alias?.narHash, narHash);
  }
});

test('parseNarAlias is undefined for every other name', () => {
  const good = narAliasName(hashPart, narHash, 'xz');
  const others = ['', 'nar/', good.slice(4), `${good}/x`, good.replace('nar/', 'log/'), good.replace('.nar', '')];
  for (const name of [...others, good.replace(/-[01]/, '-z'), good.replace('0'.repeat(32), 'e'.repeat(32))]) {
    assert.equal(parseNarAlias(name), undefined, name);
  }
});

test('isAliasOf is true only for the same contents in the same compression', () => {
  const alias = parseNarAlias(narAliasName(hashPart, narHash, 'xz'));
  assert.ok(alias !== undefined);
  assert.ok(isAliasOf(alias, { narHash, url: 'nar/abc.nar.xz' }));
  assert.ok(!isAliasOf(alias, { narHash, url: 'nar/abc.nar.zst' }));
  assert.ok(!isAliasOf(alias, { narHash: hashBytes('sha256', 'others'), url: 'nar/abc.nar.xz' }));
});
