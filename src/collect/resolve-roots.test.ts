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
    explore: unexpected,
    outputs: unexpected,
    outputNames: unexpected,
    onOnlyRun: unexpected,
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
      evaluate: async () => ({ isNixos: false, derivations: [{ drvPath: DRV, outputs: ['out'] }] }),
      outputs: async (drvPath, wanted) => {
        assert.deepEqual([drvPath, wanted], [DRV, ['out']]);
        return [{ name: 'out', path: B }];
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

const DRV = path('d', 'system.drv');
const SYSTEM = {
  kind: 'installable',
  request: '.#web',
  installable: { kind: 'flake', reference: '.#web', outputs: 'default' },
} as const;
const explored = {
  isNixos: true,
  targets: [
    { drvPath: DRV, outputs: ['out'] },
    { drvPath: DRV, outputs: ['out'], variant: 'fish' },
  ],
  inputs: [{ kind: 'flake', name: 'nixpkgs', storePath: A }],
} as const;

test('resolveRoots carries a NixOS configuration so that it can be changed, unless told otherwise', async () => {
  const ask = sources({
    evaluate: async () => ({ isNixos: true, derivations: [{ drvPath: DRV, outputs: ['out'] }] }),
    explore: async () => explored,
    outputs: async () => [{ name: 'out', path: B }],
  });
  const [changeable] = await resolveRoots([SYSTEM], ask);
  assert.deepEqual(
    [changeable?.scope, changeable?.targets, changeable?.evaluationInputs, changeable?.paths],
    ['reconfigure', explored.targets, explored.inputs, []],
  );
  const [runnable] = await resolveRoots([SYSTEM], ask, 'run');
  assert.deepEqual([runnable?.scope, runnable?.targets, runnable?.paths], ['run', [], [B]]);
});

test('resolveRoots leaves it to caches at run what a derivation gives whose output is not known before it is built', async () => {
  const ask = sources({
    evaluate: async () => ({ isNixos: false, derivations: [{ drvPath: DRV, outputs: ['out'] }] }),
    outputs: async () => [{ name: 'out', path: undefined }],
  });
  const byFile = { kind: 'derivation', request: DRV, path: DRV } as const;
  for (const root of await resolveRoots([SYSTEM, byFile], ask, 'run')) {
    assert.deepEqual([root.scope, root.paths, root.targets], ['run', [], [{ drvPath: DRV, outputs: ['out'] }]]);
  }
});

test('resolveRoots evaluates once when a scope above run is asked for', async () => {
  const [root] = await resolveRoots([SYSTEM], sources({ explore: async () => explored }), 'rebuild');
  assert.deepEqual([root?.scope, root?.name], ['rebuild', 'web']);
});

test('resolveRoots evaluates once what is called a NixOS configuration, and carries it to be run when it is none', async () => {
  const reference = '/etc/nixos#nixosConfigurations.web.pkgs.hello';
  const named = { ...SYSTEM, installable: { ...SYSTEM.installable, reference } };
  const [changeable] = await resolveRoots([named], sources({ explore: async () => explored }));
  assert.deepEqual([changeable?.scope, changeable?.targets], ['reconfigure', explored.targets]);
  const targets = [{ drvPath: DRV, outputs: ['out'] }];
  const outputs: RootSources['outputs'] = async () => [{ name: 'out', path: B }];
  const none = sources({ explore: async () => ({ isNixos: false, targets, inputs: [] }), outputs });
  const [runnable] = await resolveRoots([named], none);
  assert.deepEqual([runnable?.scope, runnable?.targets, runnable?.paths], ['run', [], [B]]);
});

test('resolveRoots takes a .drv file as its own target, and says of a path that it can only be run', async () => {
  const onlyRun: string[] = [];
  const roots = await resolveRoots(
    [
      { kind: 'derivation', request: DRV, path: DRV },
      { kind: 'store-path', request: A, path: A },
    ],
    sources({ outputNames: async () => ['dev', 'out'], onOnlyRun: (request) => onlyRun.push(request) }),
    'reconfigure',
  );
  assert.deepEqual(
    roots.map(({ scope, targets, paths }) => ({ scope, targets, paths })),
    [
      { scope: 'reconfigure', targets: [{ drvPath: DRV, outputs: ['dev', 'out'] }], paths: [] },
      { scope: 'run', targets: [], paths: [A] },
    ],
  );
  assert.deepEqual(onlyRun, [A]);
});
