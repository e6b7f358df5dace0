import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { asCandidate, type FakePath, makeFakePath } from '../../test/support/fake-paths.ts';
import { assertNothingHalfVisible, indexRows, visibleNarInfos } from '../../test/support/mirror-checks.ts';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import { formatNarInfo } from '../nix/narinfo.ts';
import { hashPartOf } from '../nix/store-path.ts';
import { narInfoName } from './layout.ts';
import { type Mirror, openMirror } from './mirror.ts';
import { publish } from './publish.ts';
import { type Refetch, verifyMirror } from './verify.ts';

interface Setup {
  readonly mirror: Mirror;
  readonly folder: string;
  /** `app` refers to `lib`, which refers to `base`; `other` refers to nothing. */
  readonly base: FakePath;
  readonly lib: FakePath;
  readonly app: FakePath;
  readonly other: FakePath;
  narFile(path: FakePath): Promise<string>;
  /** As an upstream that has all four. */
  readonly refetch: Refetch;
}

async function withSetup(use: (setup: Setup) => Promise<void>): Promise<void> {
  await using temp = await makeTempDir('verify');
  const folder = temp.join('files');
  await mkdir(folder);
  await using mirror = await openMirror(temp.join('mirror'), { access: 'write', create: true });
  const base = await makeFakePath('base');
  const lib = await makeFakePath('lib', { references: [base.info.storePath] });
  const app = await makeFakePath('app', { references: [lib.info.storePath] });
  const other = await makeFakePath('other');
  const all = [base, lib, app, other];
  await publish(mirror, await Promise.all(all.map((path) => asCandidate(path, folder))));
  const narFile = async (path: FakePath): Promise<string> => {
    const info = await mirror.readNarInfo(hashPartOf(path.info.storePath));
    return `${mirror.directory}/${info?.url ?? assert.fail()}`;
  };
  const refetch: Refetch = async ({ hashPart }) => {
    const path = all.find(({ info }) => hashPartOf(info.storePath) === hashPart);
    return path === undefined ? undefined : asCandidate(path, folder);
  };
  await use({ mirror, folder, base, lib, app, other, narFile, refetch });
}

async function flipByte(file: string): Promise<void> {
  const bytes = await readFile(file);
  const middle = Math.floor(bytes.length / 2);
  bytes[middle] = (bytes[middle] ?? 0) ^ 0x10;
  await writeFile(file, bytes);
}

test('verifyMirror finds nothing and changes nothing when all is well', () =>
  withSetup(async ({ mirror }) => {
    const token = await mirror.storage.changeToken();
    const result = await verifyMirror({ mirror });
    const nothing = { damaged: [], repaired: [], hidden: [], orphans: [], indexRebuilt: false };
    assert.deepEqual(result, { checked: 4, ...nothing });
    assert.equal(await mirror.storage.changeToken(), token);
  }));

test('verifyMirror takes a flipped bit and all that refers to it out of sight', () =>
  withSetup(async ({ mirror, lib, app, narFile }) => {
    const file = await narFile(lib);
    await flipByte(file);
    const result = await verifyMirror({ mirror });
    assert.deepEqual(
      result.damaged.map(({ storePath }) => storePath),
      [lib.info.storePath],
    );
    assert.match(result.damaged[0]?.reason ?? '', /FileHash says/);
    assert.deepEqual(result.hidden, [{ storePath: app.info.storePath, missing: [lib.info.storePath] }]);
    assert.equal(await assertNothingHalfVisible(mirror), 2);
    assert.equal(existsSync(file), false);
    assert.equal((await mirror.index.totals()).paths, 2);
    const again = await verifyMirror({ mirror });
    assert.deepEqual(
      again.damaged.map(({ storePath }) => storePath),
      [lib.info.storePath],
    );
    assert.deepEqual(again.hidden, result.hidden);
    assert.deepEqual(again.repaired, []);
  }));

test('verifyMirror brings damaged paths and their referrers back when they can be had anew', () =>
  withSetup(async ({ mirror, base, lib, app, narFile, refetch }) => {
    const before = (await visibleNarInfos(mirror)).map(formatNarInfo).toSorted();
    await flipByte(await narFile(base));
    await rm(await narFile(lib));
    const result = await verifyMirror({ mirror, refetch });
    assert.deepEqual(result.damaged, []);
    assert.deepEqual(result.hidden, []);
    assert.deepEqual(result.repaired, [base, lib, app].map(({ info }) => info.storePath).toSorted());
    assert.equal(await assertNothingHalfVisible(mirror), 4);
    assert.deepEqual((await visibleNarInfos(mirror)).map(formatNarInfo).toSorted(), before);
    assert.deepEqual(await readdir(mirror.layout.damagedNarsFolder), []);
    assert.equal((await verifyMirror({ mirror })).repaired.length, 0);
  }));

test('verifyMirror repairs later what it could only hide before', () =>
  withSetup(async ({ mirror, base, narFile, refetch }) => {
    await flipByte(await narFile(base));
    const first = await verifyMirror({ mirror, refetch: async () => undefined });
    assert.equal(first.damaged[0]?.repairFailed, 'no upstream has it');
    assert.equal(first.hidden.length, 2);
    const second = await verifyMirror({ mirror, refetch });
    assert.equal(second.repaired.length, 3);
    assert.equal(await assertNothingHalfVisible(mirror), 4);
  }));

test('verifyMirror brings back what reads well again, without any upstream', () =>
  withSetup(async ({ mirror, base, narFile }) => {
    const file = await narFile(base);
    const good = await readFile(file);
    await flipByte(file);
    await verifyMirror({ mirror });
    const [kept] = await readdir(mirror.layout.damagedNarsFolder);
    await writeFile(`${mirror.layout.damagedNarsFolder}/${kept}`, good);
    const result = await verifyMirror({ mirror });
    assert.equal(result.repaired.length, 3);
    assert.equal(await assertNothingHalfVisible(mirror), 4);
  }));

test('verifyMirror finds narinfos that are cut short, of another path, or lead outside', () =>
  withSetup(async ({ mirror, lib, app, other }) => {
    const write = (path: FakePath, text: string) =>
      mirror.storage.write(narInfoName(hashPartOf(path.info.storePath)), text);
    await write(lib, formatNarInfo(lib.info).slice(0, 100));
    await write(app, formatNarInfo(other.info));
    await write(other, formatNarInfo({ ...other.info, url: '../../etc/passwd' }));
    const { damaged, orphans } = await verifyMirror({ mirror });
    const reasons = new Map(damaged.map(({ hashPart, reason }) => [hashPart, reason]));
    assert.match(reasons.get(hashPartOf(lib.info.storePath)) ?? '', /cannot be read/);
    assert.match(reasons.get(hashPartOf(app.info.storePath)) ?? '', /describes/);
    assert.match(reasons.get(hashPartOf(other.info.storePath)) ?? '', /outside of the mirror/);
    assert.equal(orphans.length, 3);
    assert.equal(await assertNothingHalfVisible(mirror), 1);
  }));

test('verifyMirror brings a path back when only its narinfo was damaged', () =>
  withSetup(async ({ mirror, lib, refetch }) => {
    await mirror.storage.write(narInfoName(hashPartOf(lib.info.storePath)), 'garbage');
    const { damaged, repaired } = await verifyMirror({ mirror, refetch });
    assert.deepEqual(damaged, []);
    assert.equal(repaired.length, 2);
    assert.equal(await assertNothingHalfVisible(mirror), 4);
  }));

test('verifyMirror fetches a reference that was never there, when it can', () =>
  withSetup(async ({ mirror, base, lib, app, refetch }) => {
    await mirror.storage.remove(narInfoName(hashPartOf(base.info.storePath)));
    const without = await verifyMirror({ mirror });
    assert.deepEqual(
      without.hidden.map(({ storePath }) => storePath),
      [lib, app].map(({ info }) => info.storePath).toSorted(),
    );
    assert.deepEqual(without.damaged, []);
    const { repaired } = await verifyMirror({ mirror, refetch });
    assert.equal(repaired.length, 3);
    assert.equal(await assertNothingHalfVisible(mirror), 4);
  }));

test('verifyMirror does not take another path for the damaged one when an upstream offers it', () =>
  withSetup(async ({ mirror, folder, lib, narFile }) => {
    await flipByte(await narFile(lib));
    const evil = await makeFakePath('lib', { contents: 'evil', references: lib.info.references });
    const { damaged, repaired } = await verifyMirror({ mirror, refetch: () => asCandidate(evil, folder) });
    assert.match(damaged[0]?.repairFailed ?? '', /another path/);
    assert.deepEqual(repaired, []);
  }));

test('verifyMirror lists orphans and deletes none', () =>
  withSetup(async ({ mirror }) => {
    await mirror.storage.write('nar/nobody.nar', 'x');
    assert.deepEqual((await verifyMirror({ mirror })).orphans, ['nar/nobody.nar']);
    assert.ok((await mirror.storage.stat('nar/nobody.nar')) !== undefined);
  }));

test('verifyMirror only reports when the mirror is opened to read', () =>
  withSetup(async ({ mirror, base, narFile, refetch }) => {
    await flipByte(await narFile(base));
    await using reader = await openMirror(mirror.directory, { access: 'read' });
    const { damaged, hidden, repaired } = await verifyMirror({ mirror: reader, refetch });
    assert.deepEqual([damaged.length, hidden.length, repaired.length], [1, 2, 0]);
    assert.equal((await visibleNarInfos(mirror)).length, 4);
  }));

test('verifyMirror rebuilds the index when it says something else than the files', () =>
  withSetup(async ({ mirror, app }) => {
    const rows = await indexRows(mirror);
    await mirror.index.drop([hashPartOf(app.info.storePath)]);
    const { indexRebuilt } = await verifyMirror({ mirror });
    assert.equal(indexRebuilt, true);
    assert.deepEqual(await indexRows(mirror), rows);
  }));

test('verifyMirror judges a shared NAR by each path’s own claim', () =>
  withSetup(async ({ mirror, folder }) => {
    const twin = await makeFakePath('twin', { contents: 'I am other\n' });
    await publish(mirror, [await asCandidate(twin, folder)]);
    const name = narInfoName(hashPartOf(twin.info.storePath));
    const seen = await mirror.readNarInfo(hashPartOf(twin.info.storePath));
    assert.ok(seen !== undefined);
    await mirror.storage.write(name, formatNarInfo({ ...seen, narSizeBytes: seen.narSizeBytes + 8 }));
    const { damaged } = await verifyMirror({ mirror });
    assert.deepEqual(
      damaged.map(({ storePath }) => storePath),
      [twin.info.storePath],
    );
    assert.equal(await assertNothingHalfVisible(mirror), 4);
  }));

test('verifyMirror calls a NAR damaged when it cannot be read as a file', () =>
  withSetup(async ({ mirror, other, narFile }) => {
    const file = await narFile(other);
    await rename(file, `${file}.away`);
    await mkdir(file);
    const { damaged } = await verifyMirror({ mirror });
    assert.match(damaged[0]?.reason ?? '', /cannot be read \(EISDIR\)/);
  }));

test('verifyMirror stops when it is aborted', () =>
  withSetup(async ({ mirror }) => {
    await assert.rejects(verifyMirror({ mirror, signal: AbortSignal.abort(new Error('stop')) }), /stop/);
  }));
