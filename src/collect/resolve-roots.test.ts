import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NixferryError } from '../base/errors.ts';
import { parseStorePath, type StorePath } from '../nix/index.ts';
import { type RootSources, resolveRoots } from './resolve-roots.ts';

const path = (letter: string, name: string) => parseStorePath(`/nix/store/${letter.repeat(32)}-${name}`, '/nix/store');

const A = path('a', 'alpha-1.0');
const B = path('b', 'beta-2.0');

const unexpected = () => assert.fail('not asked for');

function sources(overrides: Partial<RootSources>): RootSources {
  return {
    storeDir: '/nix/store',
    list: unexpected,
    channel: unexpected,
    evaluate: unexpected,
    outputs: unexpected,
    ...overrides,
  };
}

async function* stream(...paths: StorePath[]) {
  yield* paths;
}

test('resolveRoots names a root after its path, its channel or its attribute', async () => {
  const roots = await resolveRoots(
    [
      { kind: 'store-path', request: A, path: A },
      { kind: 'channel', request: 'channel:nixos-26.05', channel: 'nixos-26.05' },
      {
        kind: 'installable',
        request: 'nixpkgs#beta',
        installable: { kind: 'flake', reference: 'nixpkgs#beta', outputs: 'default' },
      },
    ],
    sources({
      channel: () => stream(A, B, A),
      evaluate: async () => [{ drvPath: '/nix/store/x.drv', outputs: ['out'] }],
      outputs: async (drvPath, wanted) => {
        assert.deepEqual([drvPath, wanted], ['/nix/store/x.drv', ['out']]);
        return [B];
      },
    }),
  );
  assert.deepEqual(
    roots.map(({ name, paths, fromDerivation }) => ({ name, paths, fromDerivation })),
    [
      { name: 'alpha-1.0', paths: [A], fromDerivation: false },
      { name: 'nixos-26.05', paths: [A, B], fromDerivation: false },
      { name: 'beta', paths: [B], fromDerivation: true },
    ],
  );
});

test('resolveRoots refuses a root that stands for nothing', async () => {
  const empty = { kind: 'list', request: '-', source: '-' } as const;
  await assert.rejects(
    resolveRoots([empty], sources({ list: () => stream() })),
    (error) => error instanceof NixferryError && error.code === 'bad-root',
  );
});
