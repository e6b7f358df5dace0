import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { asCandidate, fakeStorePath, makeFakePath } from '../../test/support/fake-paths.ts';
import { assertNothingHalfVisible, indexRows } from '../../test/support/mirror-checks.ts';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import { narInfoFingerprint } from '../nix/narinfo.ts';
import { generateSecretKey, publicKeyOf, signNarInfo, trustedSignature } from '../nix/signature.ts';
import { hashPartOf } from '../nix/store-path.ts';
import { narInfoName } from './layout.ts';
import { type Mirror, openMirror } from './mirror.ts';
import { publish } from './publish.ts';
import type { NamedBytes } from './storage.ts';

async function withMirror(use: (mirror: Mirror, folder: string) => Promise<void>): Promise<void> {
  await using temp = await makeTempDir('publish');
  await mkdir(temp.join('files'));
  await using mirror = await openMirror(temp.join('mirror'), { access: 'write', create: true, keyName: 'carrier-1' });
  await use(mirror, temp.join('files'));
}

test('publish makes paths visible with their NARs, signed, under names of their own', () =>
  withMirror(async (mirror, folder) => {
    const upstream = generateSecretKey('upstream-1');
    const lib = await makeFakePath('lib');
    const app = await makeFakePath('app', {
      references: [lib.info.storePath, fakeStorePath('app')],
      compression: 'zstd',
    });
    const signed = { ...app, info: signNarInfo(app.info, upstream) };
    const result = await publish(mirror, [await asCandidate(signed, folder), await asCandidate(lib, folder)]);
    assert.deepEqual(result, { published: [lib.info.storePath, app.info.storePath], already: [], refused: [] });
    const seen = await mirror.readNarInfo(hashPartOf(app.info.storePath));
    assert.ok(seen !== undefined);
    assert.match(seen.url, /^nar\/[0-9a-z]{52}\.nar\.zst$/);
    assert.deepEqual(await mirror.storage.read(seen.url), app.file);
    for (const key of [publicKeyOf(upstream), mirror.publicKey]) assert.ok(trustedSignature(seen, [key]) !== undefined);
    assert.equal(await assertNothingHalfVisible(mirror), 2);
    assert.deepEqual(await readdir(folder), []);
    assert.equal((await mirror.index.totals()).paths, 2);
  }));

test('publish names what is missing, and publishes it all when that has come', () =>
  withMirror(async (mirror, folder) => {
    const lib = await makeFakePath('lib');
    const app = await makeFakePath('app', { references: [lib.info.storePath] });
    const user = await makeFakePath('user', { references: [app.info.storePath] });
    const candidates = [await asCandidate(user, folder), await asCandidate(app, folder)];
    const { published, refused } = await publish(mirror, candidates);
    assert.deepEqual(published, []);
    assert.deepEqual(
      refused.map(({ path, missing }) => [path, missing]).toSorted(),
      [
        [app.info.storePath, [lib.info.storePath]],
        [user.info.storePath, [app.info.storePath]],
      ].toSorted(),
    );
    assert.equal(await mirror.hasPath(hashPartOf(app.info.storePath)), false);
    const second = await publish(mirror, [...candidates, await asCandidate(lib, folder)]);
    assert.deepEqual(
      second.published,
      [lib, app, user].map(({ info }) => info.storePath),
    );
  }));

test('publish merges signatures and keeps the file when the path is there already', () =>
  withMirror(async (mirror, folder) => {
    const path = await makeFakePath('hello');
    const recompressed = await makeFakePath('hello', { compression: 'zstd' });
    const [first, second] = ['first-1', 'second-1'].map((name) => generateSecretKey(name));
    assert.ok(first !== undefined && second !== undefined);
    const one = { ...path, info: signNarInfo(path.info, first) };
    const two = { ...recompressed, info: signNarInfo(recompressed.info, second) };
    await publish(mirror, [await asCandidate(one, folder)]);
    const result = await publish(mirror, [await asCandidate(two, folder)]);
    assert.deepEqual(result.already, [path.info.storePath]);
    const seen = await mirror.readNarInfo(hashPartOf(path.info.storePath));
    assert.deepEqual(
      seen?.signatures.map((text) => text.split(':')[0]),
      ['carrier-1', 'first-1', 'second-1'],
    );
    assert.match(seen?.url ?? '', /\.nar\.xz$/);
    assert.deepEqual(await readdir(folder), []);
    assert.equal((await readdir(`${mirror.directory}/nar`)).length, 1);
  }));

test('publish adds a content address to a path that was there without one', () =>
  withMirror(async (mirror, folder) => {
    const path = await makeFakePath('source');
    await publish(mirror, [await asCandidate(path, folder)]);
    const contentAddress = `fixed:r:${path.info.narHash}`;
    await publish(mirror, [{ info: { ...path.info, contentAddress } }]);
    assert.equal((await mirror.readNarInfo(hashPartOf(path.info.storePath)))?.contentAddress, contentAddress);
  }));

test('publish refuses other contents under a name that is taken', () =>
  withMirror(async (mirror, folder) => {
    const good = await makeFakePath('hello');
    const evil = await makeFakePath('hello', { contents: 'evil' });
    await publish(mirror, [await asCandidate(good, folder)]);
    const { published, refused } = await publish(mirror, [await asCandidate(evil, folder)]);
    assert.deepEqual(published, []);
    assert.match(refused[0]?.reason ?? '', /NarHash sha256:.* not the same as .*NarHash sha256:/);
    const seen = await mirror.readNarInfo(hashPartOf(good.info.storePath));
    assert.ok(seen !== undefined);
    assert.equal(narInfoFingerprint(seen), narInfoFingerprint(good.info));
  }));

test('publish refuses the second of two candidates that contradict each other', () =>
  withMirror(async (mirror, folder) => {
    const good = await makeFakePath('hello');
    const evil = await makeFakePath('hello', { contents: 'evil' });
    const { published, refused } = await publish(mirror, [await asCandidate(good, folder), { info: evil.info }]);
    assert.deepEqual(published, [good.info.storePath]);
    assert.match(refused[0]?.reason ?? '', /given twice/);
  }));

test('publish refuses cycles, foreign store folders and paths without a NAR', () =>
  withMirror(async (mirror, folder) => {
    const a = await makeFakePath('a', { references: [fakeStorePath('b')] });
    const b = await makeFakePath('b', { references: [fakeStorePath('a')] });
    const foreign = await makeFakePath('foreign', { storeDir: '/gnu/store' });
    const bare = await makeFakePath('bare');
    const short = await makeFakePath('short');
    const { published, refused } = await publish(mirror, [
      await asCandidate(a, folder),
      await asCandidate(b, folder),
      await asCandidate(foreign, folder),
      { info: bare.info },
      await asCandidate({ ...short, file: short.file.subarray(1) }, folder),
    ]);
    assert.deepEqual(published, []);
    const reasons = new Map(refused.map(({ path, reason }) => [path, reason]));
    assert.match(reasons.get(a.info.storePath) ?? '', /cycle/);
    assert.match(reasons.get(b.info.storePath) ?? '', /cycle/);
    assert.match(reasons.get(foreign.info.storePath) ?? '', /holds paths of \/nix\/store/);
    assert.match(reasons.get(bare.info.storePath) ?? '', /NAR is not there/);
    assert.match(reasons.get(short.info.storePath) ?? '', /bytes, not/);
    assert.equal(await assertNothingHalfVisible(mirror), 0);
  }));

test('publish takes one file for two paths with the same contents', () =>
  withMirror(async (mirror, folder) => {
    const one = await makeFakePath('one', { contents: 'same' });
    const two = await makeFakePath('two', { contents: 'same' });
    const candidate = await asCandidate(one, folder);
    const { published } = await publish(mirror, [candidate, { info: two.info, narFile: candidate.narFile }]);
    assert.equal(published.length, 2);
    const three = await makeFakePath('three', { contents: 'same' });
    assert.equal(existsSync(candidate.narFile), false);
    assert.equal((await publish(mirror, [{ info: three.info, narFile: candidate.narFile }])).published.length, 1);
    assert.equal(await assertNothingHalfVisible(mirror), 3);
    assert.equal(
      await mirror.index.usersOfNar((await mirror.readNarInfo(hashPartOf(one.info.storePath)))?.url ?? ''),
      3,
    );
  }));

test('publish brings the NAR back when a visible path has lost it', () =>
  withMirror(async (mirror, folder) => {
    const path = await makeFakePath('hello');
    await publish(mirror, [await asCandidate(path, folder)]);
    const { url } = (await mirror.readNarInfo(hashPartOf(path.info.storePath))) ?? assert.fail();
    await rm(`${mirror.directory}/${url}`);
    assert.deepEqual((await publish(mirror, [await asCandidate(path, folder)])).published, [path.info.storePath]);
    assert.equal(await assertNothingHalfVisible(mirror), 1);
  }));

test('publish stops before anything is visible when it is aborted', () =>
  withMirror(async (mirror, folder) => {
    const path = await makeFakePath('hello');
    const reason = new Error('stop');
    const candidates = [await asCandidate(path, folder)];
    await assert.rejects(publish(mirror, candidates, { signal: AbortSignal.abort(reason) }), reason);
    assert.equal(await assertNothingHalfVisible(mirror), 0);
    assert.equal((await publish(mirror, candidates)).published.length, 1);
  }));

/** The same object, but for one property. */
function withProperty<Target extends object>(target: Target, name: keyof Target, value: unknown): Target {
  return new Proxy(target, {
    get: (original, key) => {
      const found: unknown = key === name ? value : Reflect.get(original, key, original);
      return typeof found === 'function' ? found.bind(original) : found;
    },
  });
}

test('publish announces the change to the index, then writes references before what refers to them', () =>
  withMirror(async (mirror, folder) => {
    const steps: string[] = [];
    const storage = withProperty(mirror.storage, 'writeInOrder', async (groups: Iterable<readonly NamedBytes[]>) => {
      const all = [...groups];
      steps.push(...all.map((group) => group.map(({ name }) => name).join(' ')));
      await mirror.storage.writeInOrder(all);
    });
    const index = withProperty(mirror.index, 'expectChanges', async () => {
      steps.push('announced');
    });
    const lib = await makeFakePath('lib');
    const app = await makeFakePath('app', { references: [lib.info.storePath] });
    const user = await makeFakePath('user', { references: [app.info.storePath] });
    const candidates = await Promise.all([user, lib, app].map((path) => asCandidate(path, folder)));
    await publish(withProperty(withProperty(mirror, 'storage', storage), 'index', index), candidates);
    const names = [lib, app, user].map(({ info }) => narInfoName(hashPartOf(info.storePath)));
    assert.deepEqual(steps, ['announced', ...names]);
  }));

test('publish runs calls for one mirror one after the other when they are made at once', () =>
  withMirror(async (mirror, folder) => {
    const names = Array.from({ length: 6 }, (_, index) => `chain-${index}`);
    const candidates = await Promise.all(
      names.map(async (name, index) => {
        const references = names.slice(0, index).map((before) => fakeStorePath(before));
        return asCandidate(await makeFakePath(name, { references }), folder);
      }),
    );
    const results = await Promise.all(candidates.map((candidate) => publish(mirror, [candidate])));
    assert.deepEqual(
      results.flatMap(({ published }) => published),
      names.map((name) => fakeStorePath(name)),
    );
    assert.equal((await mirror.index.totals()).paths, names.length);
  }));

test('publish leaves nothing half visible and an index that agrees when graphs and batches are random', async () => {
  const names = ['a', 'b', 'c', 'd', 'e'];
  const batch = fc.array(fc.record({ name: fc.constantFrom(...names), references: fc.subarray([...names, 'gone']) }), {
    maxLength: 5,
  });
  await fc.assert(
    fc.asyncProperty(fc.array(batch, { maxLength: 3 }), (batches) =>
      withMirror(async (mirror, folder) => {
        for (const nodes of batches) {
          const candidates = await Promise.all(
            nodes.map(async ({ name, references }) => {
              const paths = references.map((reference) => fakeStorePath(reference));
              return asCandidate(await makeFakePath(name, { references: paths, compression: 'none' }), folder);
            }),
          );
          const { published, already, refused } = await publish(mirror, candidates);
          assert.ok(published.length + already.length + refused.length <= candidates.length);
        }
        await assertNothingHalfVisible(mirror);
        const incremental = await indexRows(mirror);
        await mirror.index.rebuild();
        assert.deepEqual(await indexRows(mirror), incremental);
      }),
    ),
    { numRuns: 6 },
  );
});
