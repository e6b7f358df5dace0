import assert from 'node:assert/strict';
import { mkdtemp, readdir, readlink, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { NixferryError } from '../base/errors.ts';
import { ignoreProgress } from '../base/progress.ts';
import type { RootInputs } from '../mirror/evaluation-inputs.ts';
import type { StorePathBaseName } from '../nix/index.ts';
import { prime } from './prime.ts';

test('prime fetches all inputs of a root with one GC root each', async () => {
  await using place = await makePlace();
  const [primed] = await place.prime(rootOf('a', 'b'));
  assert.deepEqual(primed, { id: 'web01-1', name: 'web01', pathCount: 2, missing: [] });
  assert.deepEqual(await place.kept(), [pathOf('a'), pathOf('b')]);
});

test('prime fetches the rest when Nix cannot have one, and names that one', async () => {
  await using place = await makePlace(['b']);
  const [primed] = await place.prime(rootOf('a', 'b', 'c'));
  assert.equal(primed?.pathCount, 2);
  assert.deepEqual(primed?.missing, [{ name: 'input b', path: pathOf('b'), reason: `cannot have ${pathOf('b')}` }]);
  assert.deepEqual(await place.kept(), [pathOf('a'), pathOf('c')]);
});

test('prime lets go of what a root no longer reads once all that it reads now is there', async () => {
  await using place = await makePlace(['c']);
  await place.prime(rootOf('a', 'b'));
  await place.prime(rootOf('b', 'c'));
  assert.deepEqual(await place.kept(), [pathOf('a'), pathOf('b')]);
  place.lacks.clear();
  await place.prime(rootOf('b', 'c'));
  assert.deepEqual(await place.kept(), [pathOf('b'), pathOf('c')]);
});

test('prime throws what keeps Nix from running at all', async () => {
  await using place = await makePlace();
  place.error = new NixferryError('nix-not-found', 'no Nix');
  await assert.rejects(place.prime(rootOf('a')), { code: 'nix-not-found' });
});

function rootOf(...letters: string[]): RootInputs {
  const inputs = letters.map((letter) => {
    const path = pathOf(letter).slice('/nix/store/'.length) as StorePathBaseName;
    return { kind: 'fetched' as const, name: `input ${letter}`, path };
  });
  return { id: 'web01-1', name: 'web01', request: '.#web01', complete: true, inputs };
}

function pathOf(letter: string): string {
  return `/nix/store/${letter.repeat(32)}-source`;
}

/** A Nix that makes links as `nix-store --realise --add-root` does, all or none. */
async function makePlace(lacking: readonly string[] = []) {
  const folder = await mkdtemp(join(tmpdir(), 'nixferry-prime-'));
  const place = {
    lacks: new Set(lacking.map(pathOf)),
    error: undefined as NixferryError | undefined,
    prime: (root: RootInputs) =>
      prime({
        roots: [root],
        storeDir: '/nix/store',
        linksFolder: folder,
        runNix: async (program, args) => {
          if (place.error !== undefined) throw place.error;
          const paths = args.filter((argument) => argument.startsWith('/nix/store/'));
          const missing = paths.find((path) => place.lacks.has(path));
          if (missing !== undefined) throw new NixferryError('nix-failed', `it failed:\ncannot have ${missing}`);
          assert.deepEqual([program, args[0], args.includes('--indirect')], ['nix-store', '--realise', true]);
          const link = args[args.indexOf('--add-root') + 1] ?? '';
          for (const [index, path] of paths.entries()) {
            const name = index === 0 ? link : `${link}-${index + 1}`;
            await rm(name, { force: true });
            await symlink(path, name);
          }
        },
        onProgress: ignoreProgress,
        signal: new AbortController().signal,
      }),
    kept: async () => {
      const names = await readdir(join(folder, 'web01-1'));
      const targets = await Promise.all(names.map((name) => readlink(join(folder, 'web01-1', name))));
      return [...new Set(targets)].toSorted();
    },
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
  return place;
}
