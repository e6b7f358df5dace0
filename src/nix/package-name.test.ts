import assert from 'node:assert/strict';
import { test } from 'node:test';
import { outputNameOf, parsePackageName } from './package-name.ts';
import type { StorePathBaseName } from './store-path.ts';

test('parsePackageName splits behind the first dash that no letter follows', () => {
  const names: [string, string, string][] = [
    ['hello-2.12', 'hello', '2.12'],
    ['hello', 'hello', ''],
    ['python3.11-requests-2.31.0', 'python3.11-requests', '2.31.0'],
    ['git-2.39.5-doc', 'git', '2.39.5-doc'],
    ['nixos-system-web01-26.05', 'nixos-system-web01', '26.05'],
    ['a--b', 'a', '-b'],
    ['a-', 'a-', ''],
    ['-1', '', '1'],
    ['x-_1', 'x', '_1'],
  ];
  for (const [text, name, version] of names) assert.deepEqual(parsePackageName(text), { name, version }, text);
});

test('outputNameOf knows the output when the deriver says where the name ends', () => {
  const hash = '0'.repeat(32);
  const path = (name: string) => `${hash}-${name}` as StorePathBaseName;
  const of = (name: string, deriver?: string) => outputNameOf(path(name), deriver && path(deriver));
  assert.deepEqual(of('git-2.39-doc', 'git-2.39.drv'), { name: 'git', version: '2.39', output: 'doc' });
  assert.deepEqual(of('git-2.39', 'git-2.39.drv'), { name: 'git', version: '2.39', output: 'out' });
  assert.deepEqual(of('git-2.39-doc'), { name: 'git', version: '2.39-doc', output: undefined });
  assert.deepEqual(of('git-2.39-doc', 'other-1.drv'), { name: 'git', version: '2.39-doc', output: undefined });
  assert.deepEqual(of('x.drv-1', '.drv'), { name: 'x.drv', version: '1', output: undefined });
});
