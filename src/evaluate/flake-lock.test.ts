import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEFAULT_STORE_DIR } from '../nix/index.ts';
import { listLockedInputs } from './flake-lock.ts';

const HASH = 'sha256-UyDqG8BT66aT8p9jCGq1EjrJBGfywOjfdjn3zNLXpOo=';

const NIXPKGS = { type: 'indirect', id: 'nixpkgs', ref: 'nixos-99.11' };

function lock(common: Readonly<Record<string, unknown>>) {
  return {
    root: 'root',
    nodes: {
      root: { inputs: { hardware: 'hardware', nixpkgs: 'nixpkgs', common: 'common' } },
      hardware: {
        inputs: { nixpkgs: ['nixpkgs'], utils: 'utils' },
        locked: { type: 'git', url: 'https://example.org/hardware', dir: 'sub', narHash: HASH },
      },
      nixpkgs: {
        locked: { type: 'tarball', url: 'https://example.org/nixpkgs.tar.gz', narHash: HASH },
        original: NIXPKGS,
      },
      utils: { locked: { type: 'tarball', url: 'https://example.org/utils.tar.gz' } },
      common: { locked: { type: 'path', path: './common', ...common } },
    },
  };
}

test('listLockedInputs names each input once by the shortest way, without what follows another', () => {
  const inputs = listLockedInputs(lock({}), DEFAULT_STORE_DIR);
  assert.deepEqual(
    inputs.map(({ name }) => name),
    ['hardware', 'nixpkgs', 'hardware/utils'],
  );
  assert.deepEqual(inputs[0]?.attributes, { type: 'git', url: 'https://example.org/hardware', narHash: HASH });
  assert.match(inputs[0]?.path ?? '', /^\/nix\/store\/[0-9a-z]{32}-source$/);
  assert.equal(inputs[2]?.path, undefined);
  assert.deepEqual(inputs[1]?.original, NIXPKGS);
  assert.equal(inputs[0]?.locked?.['dir'], 'sub');
});

test('listLockedInputs keeps an input inside its parent when the Nix that locked it asks for it by its hash', () => {
  const [, , common] = listLockedInputs(lock({ narHash: HASH, lastModified: 1 }), DEFAULT_STORE_DIR);
  assert.equal(common?.name, 'common');
  assert.equal(common.isInsideParent, true);
  assert.ok(common.path !== undefined);
});
