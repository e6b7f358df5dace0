import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatHash, hashBytes, makeSourcePath } from '../nix/index.ts';
import { flakeLock, listLockedInputs } from './flake-lock.ts';

const hash = (text: string) => formatHash(hashBytes('sha256', text), 'sri');
const path = (text: string) => makeSourcePath('source', hashBytes('sha256', text), '/nix/store');
const github = (text: string) => ({ type: 'github', owner: 'o', repo: text, rev: 'r', narHash: hash(text) });

test('listLockedInputs names each node once by the way from the root, wherever in the tree it is', () => {
  const lock = flakeLock.parse({
    version: 7,
    root: 'root',
    nodes: {
      root: { inputs: { nixpkgs: 'nixpkgs_2', home: 'home', modules: 'modules' } },
      home: { inputs: { nixpkgs: ['nixpkgs'], utils: 'utils' }, locked: github('home'), original: {} },
      modules: { inputs: { nixpkgs: 'nixpkgs' }, locked: { ...github('modules'), dir: 'sub', __final: true } },
      utils: { inputs: { data: 'data', again: 'home' }, locked: github('utils') },
      data: { flake: false, locked: { type: 'file', url: 'https://example.org/data', narHash: hash('data') } },
      nixpkgs: { locked: github('nixpkgs') },
      nixpkgs_2: { locked: github('nixpkgs_2') },
      unreachable: { locked: github('unreachable') },
    },
  });
  const inputs = listLockedInputs(lock, '/nix/store');
  assert.deepEqual(
    inputs.map((input) => [input.name, input.path]),
    [
      ['nixpkgs', path('nixpkgs_2')],
      ['home', path('home')],
      ['modules', path('modules')],
      ['home/utils', path('utils')],
      ['modules/nixpkgs', path('nixpkgs')],
      ['home/utils/data', path('data')],
    ],
  );
  assert.deepEqual(inputs[2]?.attributes, github('modules'));
});

test('listLockedInputs leaves out what lies inside its parent, and knows no path where the lock has no hash', () => {
  const lock = flakeLock.parse({
    root: 'root',
    nodes: {
      root: { inputs: { inside: 'inside', outside: 'outside', unhashed: 'unhashed' } },
      inside: { locked: { type: 'path', path: './sub' }, parent: [], inputs: { deep: 'deep' } },
      deep: { locked: github('deep') },
      outside: { locked: { type: 'path', path: '/home/anna', narHash: hash('outside') } },
      unhashed: { locked: { type: 'git', url: 'ssh://host/x', rev: 'r', narHash: 'nonsense' } },
    },
  });
  assert.deepEqual(
    listLockedInputs(lock, '/nix/store').map((input) => [input.name, input.path]),
    [
      ['outside', path('outside')],
      ['unhashed', undefined],
      ['inside/deep', path('deep')],
    ],
  );
});
