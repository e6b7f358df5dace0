import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { asCandidate, fakeStorePath, makeFakePath } from '../../test/support/fake-paths.ts';
import { indexRows } from '../../test/support/mirror-checks.ts';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import { formatNarInfo } from '../nix/narinfo.ts';
import { hashPartOf } from '../nix/store-path.ts';
import { rebuildIndex } from './index-rebuild.ts';
import { narInfoName } from './layout.ts';
import { type Mirror, openMirror } from './mirror.ts';
import { publish } from './publish.ts';

const sum = (numbers: (number | undefined)[]) => numbers.reduce<number>((all, one) => all + (one ?? 0), 0);
const hashOf = (name: string) => hashPartOf(fakeStorePath(name));

async function withMirror(use: (mirror: Mirror, directory: string) => Promise<void>): Promise<void> {
  await using temp = await makeTempDir('index');
  await mkdir(temp.join('files'));
  await using mirror = await openMirror(temp.join('mirror'), { access: 'write', create: true });
  const base = await makeFakePath('base');
  const lib = await makeFakePath('lib', { references: [fakeStorePath('base'), fakeStorePath('lib')] });
  const app = await makeFakePath('app', { references: [fakeStorePath('lib'), fakeStorePath('base')] });
  const twin = await makeFakePath('twin', { contents: 'I am base\n' });
  const withDeriver = { ...app, info: { ...app.info, deriver: fakeStorePath('app.drv') } };
  const paths = await Promise.all([base, lib, withDeriver, twin].map((path) => asCandidate(path, temp.join('files'))));
  assert.equal((await publish(mirror, paths)).published.length, 4);
  await use(mirror, mirror.directory);
}

test('MirrorIndex answers what the narinfos say', () =>
  withMirror(async ({ index }) => {
    assert.equal(await index.has(hashOf('lib')), true);
    assert.equal(await index.has(hashOf('gone')), false);
    assert.equal((await index.get(hashOf('app')))?.storePath, fakeStorePath('app'));
    assert.deepEqual(await index.references(hashOf('lib')), [hashOf('base'), hashOf('lib')].toSorted());
    assert.deepEqual(await index.referrers(hashOf('base')), [hashOf('app'), hashOf('lib')].toSorted());
    assert.deepEqual(await index.referrers(hashOf('lib')), [hashOf('app')]);
    assert.deepEqual(await index.outputsOf(fakeStorePath('app.drv')), [fakeStorePath('app')]);
    const closure = await index.closure([hashOf('app'), hashOf('gone')]);
    const expected = ['app', 'base', 'lib'].map((name) => fakeStorePath(name)).toSorted();
    assert.deepEqual(
      closure.paths.map(({ storePath }) => storePath),
      expected,
    );
    assert.deepEqual(closure.missing, [hashOf('gone')]);
    const rows = await Promise.all(['base', 'lib', 'app', 'twin'].map((name) => index.get(hashOf(name))));
    assert.deepEqual(
      await Array.fromAsync(index.names()),
      rows
        .map((row) => ({ baseName: row?.storePath.slice('/nix/store/'.length), url: row?.url }))
        .toSorted((a, b) => ((a.baseName ?? '') < (b.baseName ?? '') ? -1 : 1)),
    );
  }));

test('MirrorIndex counts a shared NAR once when it adds up files', () =>
  withMirror(async ({ index }) => {
    const rows = await Promise.all(['base', 'lib', 'app', 'twin'].map((name) => index.get(hashOf(name))));
    assert.equal(rows[0]?.url, rows[3]?.url);
    assert.deepEqual(await index.totals(), {
      paths: 4,
      narBytes: sum(rows.map((row) => row?.narSizeBytes)),
      fileBytes: sum(rows.slice(0, 3).map((row) => row?.fileSizeBytes)),
    });
  }));

test('rebuildIndex gives the same rows as publishing did', () =>
  withMirror(async (mirror) => {
    const rows = await indexRows(mirror);
    assert.equal((await rebuildIndex(mirror)).paths, 4);
    assert.deepEqual(await indexRows(mirror), rows);
  }));

for (const [what, spoil] of [
  ['is missing', (file: string) => rm(file)],
  ['is garbage', (file: string) => writeFile(file, 'this is no database, and never was one')],
  ['is empty', (file: string) => writeFile(file, '')],
  ['is cut short', async (file: string) => writeFile(file, (await readFile(file)).subarray(0, 9000))],
  ['is of another version', async (file: string) => setVersion(file, 999)],
] as const) {
  test(`MirrorIndex is made again from the narinfos when its file ${what}`, () =>
    withMirror(async (mirror, directory) => {
      const rows = await indexRows(mirror);
      await mirror.close();
      await spoil(mirror.layout.indexFile);
      const spoilt = existsSync(mirror.layout.indexFile) ? await readFile(mirror.layout.indexFile) : undefined;
      {
        await using reader = await openMirror(directory, { access: 'read' });
        assert.deepEqual(await indexRows(reader), rows);
      }
      const after = existsSync(mirror.layout.indexFile) ? await readFile(mirror.layout.indexFile) : undefined;
      assert.deepEqual(after, spoilt, 'a reader wrote');
      await using writer = await openMirror(directory, { access: 'write' });
      assert.deepEqual(await indexRows(writer), rows);
    }));
}

test('MirrorIndex sees what was added, changed or removed behind its back when it is opened again', () =>
  withMirror(async (mirror, directory) => {
    await mirror.close();
    const added = await makeFakePath('added');
    const path = (name: string) => `${directory}/${narInfoName(hashOf(name))}`;
    await writeFile(path('added'), formatNarInfo(added.info));
    const changed = (await readFile(path('lib'), 'utf8')).replace(/\nURL: .*\n/, '\nURL: nar/elsewhere.nar\n');
    await writeFile(path('lib'), changed);
    await rm(path('twin'));
    await writeFile(path('app'), 'cut sho');
    for (const access of ['read', 'write'] as const) {
      await using again = await openMirror(directory, { access });
      const expected = ['added', 'base', 'lib'].map(hashOf).toSorted();
      assert.deepEqual(await again.index.hashParts(), expected);
      assert.equal((await again.index.get(hashOf('lib')))?.url, 'nar/elsewhere.nar');
    }
  }));

test('MirrorIndex shows a reader what a writer did meanwhile when it is refreshed', () =>
  withMirror(async (mirror, directory) => {
    await using reader = await openMirror(directory, { access: 'read' });
    assert.equal((await reader.index.totals()).paths, 4);
    const late = await makeFakePath('late', { compression: 'none' });
    await mirror.storage.write('nar/late.nar', late.file);
    await publish(mirror, [{ info: { ...late.info, url: 'nar/late.nar' } }]);
    await reader.index.refresh();
    assert.equal(await reader.index.has(hashOf('late')), true);
  }));

test('MirrorIndex looks at the files again when a change was announced and never told', () =>
  withMirror(async (mirror, directory) => {
    // The file system's clock stands still, as it does for milliseconds at a time.
    const stopClock = () => utimes(directory, 1_000_000_000, 1_000_000_000);
    await stopClock();
    await mirror.index.add([]);
    await mirror.index.expectChanges();
    await mirror.close();
    const added = await makeFakePath('added');
    await writeFile(`${directory}/${narInfoName(hashOf('added'))}`, formatNarInfo(added.info));
    await stopClock();
    await using again = await openMirror(directory, { access: 'write' });
    assert.equal(await again.index.has(hashOf('added')), true);
  }));

test('MirrorIndex lets readers in while a writer is in the middle of a batch', () =>
  withMirror(async (mirror, directory) => {
    const other = new DatabaseSync(mirror.layout.indexFile);
    other.exec("BEGIN IMMEDIATE; DELETE FROM paths WHERE base_name LIKE '%twin'");
    await using reader = await openMirror(directory, { access: 'read' });
    assert.equal((await reader.index.totals()).paths, 4);
    other.exec('ROLLBACK');
    other.close();
  }));

function setVersion(file: string, version: number): Promise<void> {
  const database = new DatabaseSync(file);
  database.exec(`PRAGMA user_version = ${version}`);
  database.close();
  return Promise.resolve();
}
