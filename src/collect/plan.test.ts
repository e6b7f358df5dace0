import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NixferryError } from '../base/errors.ts';
import { ignoreProgress } from '../base/progress.ts';
import type { LocalPath, LocalStore } from '../evaluate/local-store.ts';
import type { Mirror } from '../mirror/mirror.ts';
import {
  formatContentAddress,
  generateSecretKey,
  type HashPart,
  hashBytes,
  hashPartOf,
  makeFixedOutputPath,
  type NarInfo,
  nameOf,
  publicKeyOf,
  type StorePath,
  signNarInfo,
  storePathFromBaseName,
} from '../nix/index.ts';
import type { Upstream } from '../upstream/upstream.ts';
import { type NarInfoFinder, type PlanInputs, planCollect } from './plan.ts';

const trusted = generateSecretKey('trusted-1');
const stranger = generateSecretKey('stranger-1');
const upstream = { url: 'https://cache.example' } as Upstream;

const path = (letter: string) => storePathFromBaseName(`${letter.repeat(32)}-${letter}`, '/nix/store');
const [A, B, C, D] = ['a', 'b', 'c', 'd'].map(path) as [StorePath, StorePath, StorePath, StorePath];

function unsigned(storePath: StorePath, references: readonly StorePath[] = [], sizes: Partial<NarInfo> = {}): NarInfo {
  return {
    storePath,
    url: 'nar/x',
    compression: 'xz',
    narHash: hashBytes('sha256', storePath),
    narSizeBytes: 1000,
    fileSizeBytes: 100,
    references,
    signatures: [],
    ...sizes,
  };
}

const signed = (...args: Parameters<typeof unsigned>) => signNarInfo(unsigned(...args), trusted);

function finder(...infos: (NarInfo | { readonly hashPart: HashPart; readonly error: Error })[]): NarInfoFinder {
  return {
    async find(hashPart, { accept }) {
      for (const info of infos) {
        if ('error' in info) {
          if (info.hashPart === hashPart) throw info.error;
        } else if (hashPartOf(info.storePath) === hashPart && accept(info, upstream)) {
          return { info, upstream };
        }
      }
      return undefined;
    },
  };
}

function localStore(...paths: Pick<LocalPath, 'storePath' | 'references'>[]): LocalStore {
  return {
    query: async (wanted) =>
      new Map(
        paths
          .filter(({ storePath }) => wanted.includes(storePath))
          .map((known) => [
            known.storePath,
            { ...known, narHash: hashBytes('sha256', ''), narSizeBytes: 500, deriver: undefined },
          ]),
      ),
    nar: () => assert.fail('planning reads no contents'),
  };
}

function mirror(...infos: NarInfo[]): Mirror {
  return { readNarInfo: async (hashPart) => infos.find((info) => hashPartOf(info.storePath) === hashPart) } as Mirror;
}

function plan(
  inputs: Partial<PlanInputs> & Pick<PlanInputs, 'upstreams'>,
  root: StorePath = A,
  fromDerivation = false,
) {
  return planCollect({
    roots: [
      {
        request: root,
        name: nameOf(root),
        paths: [root],
        fromDerivation,
        scope: 'run',
        targets: [],
        evaluationInputs: [],
      },
    ],
    mirror: undefined,
    mirrorDirectory: '/',
    storeDir: '/nix/store',
    localStores: [],
    trustedKeys: [publicKeyOf(trusted)],
    onProgress: ignoreProgress,
    signal: new AbortController().signal,
    ...inputs,
  });
}

test('planCollect lists references before referrers, each once, when paths share references', async () => {
  const { toFetch, problems } = await plan({ upstreams: finder(signed(A, [A, B, C]), signed(B, [C]), signed(C)) });
  assert.deepEqual(
    toFetch.map(({ storePath }) => storePath),
    [C, B, A],
  );
  assert.deepEqual(problems, []);
});

test('planCollect ends when paths refer to each other in a circle', async () => {
  const { toFetch } = await plan({ upstreams: finder(signed(A, [B]), signed(B, [A])) });
  assert.equal(toFetch.length, 2);
});

test('planCollect adds up what is stated, and says when NarSize had to stand in for FileSize', async () => {
  const exact = await plan({ upstreams: finder(signed(A, [B]), signed(B)) });
  assert.deepEqual([exact.downloadBytes, exact.downloadIsExact, exact.unpackedBytes], [200, true, 2000]);
  const { fileSizeBytes: _, ...unstated } = unsigned(B);
  const atMost = await plan({ upstreams: finder(signed(A, [B]), signNarInfo(unstated, trusted)) });
  assert.deepEqual([atMost.downloadBytes, atMost.downloadIsExact], [1100, false]);
});

test('planCollect fetches nothing that the mirror has, and counts it', async () => {
  const { toFetch, present } = await plan({
    mirror: mirror(unsigned(B, [C]), unsigned(C)),
    upstreams: finder(signed(A, [B])),
  });
  assert.deepEqual(
    toFetch.map(({ storePath }) => storePath),
    [A],
  );
  assert.deepEqual([...present].sort(), [B, C]);
});

test('planCollect takes from the local store what no upstream has, and follows its references', async () => {
  const { toFetch, problems } = await plan({
    upstreams: finder(signed(C)),
    localStores: [localStore({ storePath: A, references: [B, C] }, { storePath: B, references: [C] })],
  });
  assert.deepEqual(
    toFetch.map(({ storePath, kind }) => [storePath, kind]),
    [
      [C, 'upstream'],
      [B, 'local'],
      [A, 'local'],
    ],
  );
  assert.deepEqual(problems, []);
});

test('planCollect names what nobody has with what wants it, and goes on with the rest', async () => {
  const { toFetch, problems } = await plan({ upstreams: finder(signed(A, [B, C]), signed(C, [D])) });
  assert.deepEqual(
    toFetch.map(({ storePath }) => storePath),
    [C, A],
  );
  assert.deepEqual(
    problems.map(({ storePath, kind, wantedBy }) => [storePath, kind, wantedBy]),
    [
      [B, 'absent', A],
      [D, 'absent', C],
    ],
  );
});

test('planCollect calls an output not built when its root is a derivation', async () => {
  const { problems } = await plan({ upstreams: finder() }, A, true);
  assert.deepEqual(
    problems.map(({ kind }) => kind),
    ['not-built'],
  );
});

test('planCollect refuses a narinfo that only a stranger signed, or of another path, and says who signed', async () => {
  const foreign = await plan({ upstreams: finder(signNarInfo(unsigned(A), stranger)) });
  assert.deepEqual(
    foreign.problems.map(({ kind }) => kind),
    ['untrusted'],
  );
  assert.match(foreign.problems[0]?.detail ?? '', /stranger-1/);
  const renamed = storePathFromBaseName(`${'a'.repeat(32)}-other`, '/nix/store');
  const other = await plan({ upstreams: finder(signed(renamed)) });
  assert.deepEqual(other.toFetch, []);
});

test('planCollect takes nothing from the local store that an upstream has, signed by whom it may be', async () => {
  const { toFetch, problems } = await plan({
    upstreams: finder(signNarInfo(unsigned(A), stranger)),
    localStores: [localStore({ storePath: A, references: [] })],
  });
  assert.deepEqual([toFetch.length, problems.map(({ kind }) => kind)], [0, ['untrusted']]);
});

test('planCollect accepts an unsigned path when its content address explains its name, and only then', async () => {
  const hash = hashBytes('sha256', 'contents');
  const fixed = makeFixedOutputPath('flat', hash, 'source', '/nix/store');
  const contentAddress = formatContentAddress({ method: 'flat', hash });
  const good = await plan({ upstreams: finder(unsigned(fixed, [], { contentAddress })) }, fixed);
  assert.equal(good.toFetch.length, 1);
  const bad = await plan({ upstreams: finder(unsigned(A, [], { contentAddress })) });
  assert.deepEqual(
    bad.problems.map(({ kind }) => kind),
    ['untrusted'],
  );
});

test('planCollect reports a path whose upstream fails, and goes on', async () => {
  const error = new NixferryError('upstream-incomplete', 'status 500');
  const { toFetch, problems } = await plan({
    upstreams: finder(signed(A, [B, C]), { hashPart: hashPartOf(B), error }, signed(C)),
  });
  assert.deepEqual(
    toFetch.map(({ storePath }) => storePath),
    [C, A],
  );
  assert.deepEqual(
    problems.map(({ kind, detail }) => [kind, detail]),
    [['upstream-error', 'status 500']],
  );
});
