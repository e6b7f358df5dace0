import assert from 'node:assert/strict';
import { test } from 'node:test';
import { diffText } from './diff-text.ts';
import { diffHoldings, type HeldPath } from './shipment-diff.ts';

/** `hash name` → a held path; the first digit of the hash part tells paths of one name apart. */
function held(...paths: [digit: string, name: string, more?: Partial<HeldPath>][]): Map<string, HeldPath> {
  return new Map(
    paths.map(([digit, name, more]) => {
      const path = `${digit.repeat(32)}-${name}`;
      return [path, { path, deriver: undefined, narHash: undefined, narSizeBytes: 100, ...more }];
    }),
  );
}

const shapes = (diff: ReturnType<typeof diffHoldings>) =>
  diff.packages.map(({ kind, name, oldVersions, newVersions, keptVersions }) => [
    kind,
    name,
    oldVersions.join(' '),
    newVersions.join(' '),
    keptVersions.join(' '),
  ]);

test('diffHoldings tells added, removed, changed, rebuilt and unchanged packages apart', () => {
  const before = held(
    ['0', 'glibc-2.36'],
    ['1', 'git-2.39'],
    ['2', 'nano-7'],
    ['3', 'zlib-1.3'],
    ['4', 'openssl-1.1'],
    ['5', 'openssl-3.0'],
  );
  const after = held(
    ['0', 'glibc-2.36'],
    ['6', 'git-2.47'],
    ['7', 'vim-9'],
    ['8', 'zlib-1.3'],
    ['4', 'openssl-1.1'],
    ['9', 'openssl-3.1'],
  );
  const diff = diffHoldings(before, after);
  assert.deepEqual(shapes(diff), [
    ['changed', 'git', '2.39', '2.47', ''],
    ['removed', 'nano', '7', '', ''],
    ['changed', 'openssl', '3.0', '3.1', '1.1'],
    ['added', 'vim', '', '9', ''],
    ['rebuilt', 'zlib', '', '', '1.3'],
  ]);
  assert.equal(diff.unchangedPackages, 1);
  assert.deepEqual(diff.paths, { added: 4, removed: 4, unchanged: 2 });
});

test('diffHoldings sees one version when outputs are told by the deriver', () => {
  const deriver = `${'d'.repeat(32)}-git-2.39.drv`;
  const before = held(['0', 'git-2.39', { deriver }]);
  const after = held(['0', 'git-2.39'], ['1', 'git-2.39-doc', { deriver }]);
  assert.deepEqual(shapes(diffHoldings(before, after)), [['outputs', 'git', '', '', '2.39']]);
});

test('diffHoldings counts derivations apart from packages', () => {
  const diff = diffHoldings(held(['0', 'a-1.drv']), held(['1', 'a-1.drv'], ['2', 'a-1']));
  assert.deepEqual(diff.derivations, { added: 1, removed: 1, unchanged: 0 });
  assert.deepEqual(shapes(diff), [['added', 'a', '', '1', '']]);
});

test('diffHoldings names paths whose contents differ under the same name', () => {
  const before = held(['0', 'a-1', { narHash: 'sha256:a' }], ['1', 'b-1', { narHash: 'sha256:b' }], ['2', 'c-1']);
  const after = held(
    ['0', 'a-1', { narHash: 'sha256:x' }],
    ['1', 'b-1', { narHash: 'sha256:b' }],
    ['2', 'c-1', { narHash: 'sha256:c' }],
  );
  assert.deepEqual(diffHoldings(before, after).otherContents, [`${'0'.repeat(32)}-a-1`]);
});

test('diffText prints versions, sizes and, when asked, paths', () => {
  const before = held(['0', 'git-2.39', { narSizeBytes: 1000 }], ['2', 'nano-7']);
  const after = held(['1', 'git-2.47', { narSizeBytes: 3000 }], ['2', 'nano-7']);
  const manifest = { sequence: 7, site: 'plant-7' } as Parameters<typeof diffText>[0]['manifest'];
  const signature = { isVerified: true, verdict: 'verified', facts: [], advice: undefined };
  const diff = {
    ...diffHoldings(before, after),
    manifest,
    signature,
    folder: '/x',
    comparedWith: 'shipment 6\u001b[2J',
  };
  const text = [...diffText(diff, true)].join('');
  assert.match(text, /compared with shipment 6\\u\{1b\}\[2J\n/);
  assert.match(text, /\n {2}git {2}2\.39 → 2\.47 {2}\+2\.0 kB\n {6}- 0{32}-git-2\.39\n {6}\+ 1{32}-git-2\.47\n/);
  assert.match(text, /unchanged: 1 package\npaths: 1 added, 1 removed, 1 unchanged\n/);
  assert.doesNotMatch([...diffText(diff, false)].join(''), /- 0000/);
});
