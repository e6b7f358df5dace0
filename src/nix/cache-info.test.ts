import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { formatCacheInfo, isStoreDir, parseCacheInfo } from './cache-info.ts';
import { NixFormatError } from './format-error.ts';

test('parseCacheInfo reads what a public cache serves', () => {
  const text = 'StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 40\n';
  assert.deepEqual(parseCacheInfo(text), { storeDir: '/nix/store', wantMassQuery: true, priority: 40 });
  assert.deepEqual(parseCacheInfo(Buffer.from(text)), parseCacheInfo(text));
  assert.equal(formatCacheInfo(parseCacheInfo(text)), text);
});

test('parseCacheInfo is as lenient as Nix when lines are odd', () => {
  const text = 'no colon\r\nUnknown: x\nStoreDir:/gnu/store  \r\n\nPriority:\t-5abc\nWantMassQuery: yes';
  assert.deepEqual(parseCacheInfo(text), { storeDir: '/gnu/store', wantMassQuery: false, priority: -5 });
  assert.equal(parseCacheInfo('Priority: -0\n').priority, 0);
  assert.deepEqual(parseCacheInfo(''), { storeDir: '/nix/store', wantMassQuery: false, priority: undefined });
});

test('parseCacheInfo refuses when Nix would stop, or take two store folders for one', () => {
  const refused = [
    'Priority: high\n',
    'Priority:\n',
    'Priority: 99999999999\n',
    'Priority: 4294967296\n',
    'StoreDir: store\n',
    'StoreDir:\n',
    'StoreDir: /nix/store\nStoreDir: /gnu/store\n',
  ];
  for (const text of refused) assert.throws(() => parseCacheInfo(text), NixFormatError, text);
});

test('isStoreDir holds when a folder is absolute and plainly spelt', () => {
  for (const good of ['/nix/store', '/s', '/home/a b/store']) assert.equal(isStoreDir(good), true, good);
  for (const bad of [
    '',
    '/',
    'nix/store',
    '/nix/store/',
    '/nix//store',
    '/nix/../store',
    '/./s',
    '/a\nb',
    `/${'x'.repeat(2000)}`,
  ]) {
    assert.equal(isStoreDir(bad), false, bad);
  }
});

test('parseCacheInfo undoes formatCacheInfo when its parts are any', () => {
  const parts = {
    storeDir: fc.constantFrom('/nix/store', '/gnu/store'),
    wantMassQuery: fc.boolean(),
    priority: fc.option(fc.integer(), { nil: undefined }),
  };
  const info = fc.record(parts, { noNullPrototype: true });
  fc.assert(fc.property(info, (value) => assert.deepEqual(parseCacheInfo(formatCacheInfo(value)), value)));
});
