import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ignoreProgress } from '../base/progress.ts';
import type { LocalStore } from '../evaluate/local-store.ts';
import {
  generateSecretKey,
  hashBytes,
  hashPartOf,
  makeOutputPath,
  makeTextPath,
  type NarInfo,
  publicKeyOf,
  type StorePath,
  signNarInfo,
} from '../nix/index.ts';
import type { Upstream } from '../upstream/upstream.ts';
import { planCollect } from './plan.ts';

// system (a text, substitution off) ← tool (in the cache), compiler (in the cache)

const STORE = '/nix/store';
const key = generateSecretKey('cache-1');
const output = (name: string) => makeOutputPath('out', hashBytes('sha256', name), name, STORE);

interface Made {
  readonly drvPath: StorePath;
  readonly bytes: Buffer;
  readonly output: StorePath;
  readonly inputs: readonly StorePath[];
}

function make(name: string, inputs: readonly Made[], env = ''): Made {
  const path = output(name);
  const inputTexts = inputs.map(({ drvPath }) => `("${drvPath}",["out"])`).sort();
  const text = `Derive([("out","${path}","","")],[${inputTexts.join(',')}],[],"x86_64-linux","/bin/sh",[],[${env}("name","${name}"),("out","${path}")])`;
  const bytes = Buffer.from(text);
  const inputPaths = inputs.map(({ drvPath }) => drvPath);
  return {
    drvPath: makeTextPath(`${name}.drv`, hashBytes('sha256', bytes), inputPaths, STORE),
    bytes,
    output: path,
    inputs: inputPaths,
  };
}

const compiler = make('compiler', []);
const tool = make('tool', [compiler]);
const system = make('system', [tool], '("allowSubstitutes",""),');
const MADE = [compiler, tool, system];

/** The cache has tool and compiler; this machine has the .drv files. */
function plan(scope: 'run' | 'reconfigure' | 'rebuild', withDerivations = true) {
  const cached = new Map(
    [compiler, tool].map((made) => [hashPartOf(made.output), signNarInfo(narInfo(made.output), key)]),
  );
  return planCollect({
    roots: [
      {
        request: '.#system',
        name: 'system',
        paths: [],
        fromDerivation: true,
        scope,
        targets: [{ drvPath: system.drvPath, outputs: ['out'] }],
        evaluationInputs: [],
      },
    ],
    mirror: undefined,
    mirrorDirectory: '/',
    storeDir: STORE,
    upstreams: {
      find: async (hashPart) => {
        const info = cached.get(hashPart);
        return info && { info, upstream: { url: 'https://cache.example' } as Upstream };
      },
    },
    localStores: [derivationsOnly()],
    readDerivation: async (drvPath) => MADE.find((made) => made.drvPath === drvPath)?.bytes,
    trustedKeys: [publicKeyOf(key)],
    compare: ['run', 'reconfigure', 'rebuild'],
    carries: { withDerivations },
    onProgress: ignoreProgress,
    signal: new AbortController().signal,
  });
}

function narInfo(storePath: StorePath): NarInfo {
  const narHash = hashBytes('sha256', storePath);
  return { storePath, url: 'nar/x', compression: 'xz', narHash, narSizeBytes: 1000, references: [], signatures: [] };
}

function derivationsOnly(): LocalStore {
  return {
    query: async (wanted) =>
      new Map(
        MADE.filter(({ drvPath }) => wanted.includes(drvPath)).map(
          ({ drvPath: storePath, bytes, inputs: references }) => [
            storePath,
            {
              storePath,
              narHash: hashBytes('sha256', bytes),
              narSizeBytes: bytes.length,
              references,
              deriver: undefined,
            },
          ],
        ),
      ),
    nar: () => assert.fail('planning reads no contents'),
  };
}

function names(paths: Iterable<StorePath>): string[] {
  return [...paths].map((path) => path.slice(STORE.length + 34)).sort();
}

test('planRoot carries at reconfigure what a client needs to build what no cache gives, and the .drv files', async () => {
  const { roots, problems } = await plan('reconfigure');
  assert.deepEqual(names(roots[0]?.carried.paths.keys() ?? []), ['compiler.drv', 'system.drv', 'tool', 'tool.drv']);
  assert.deepEqual(roots[0]?.carried.builds, [system.drvPath]);
  assert.deepEqual(roots[0]?.carried.rootPaths, [system.drvPath]);
  assert.deepEqual(problems, []);
  const without = await plan('reconfigure', false);
  assert.deepEqual(names(without.roots[0]?.carried.paths.keys() ?? []), ['tool']);
});

test('planRoot works out the scopes to compare, and adds one level of what packages are built from at rebuild', async () => {
  const { roots } = await plan('rebuild');
  assert.deepEqual([...(roots[0]?.scopes.keys() ?? [])], ['run', 'reconfigure', 'rebuild']);
  assert.equal(roots[0]?.carried.paths.get(compiler.output)?.reason.kind, 'package-input');
});

test('planRoot reports at run that the output is built nowhere', async () => {
  const { problems } = await plan('run');
  assert.deepEqual(
    problems.map(({ storePath, kind }) => [storePath, kind]),
    [[system.output, 'not-built']],
  );
});
