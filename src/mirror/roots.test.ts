import assert from 'node:assert/strict';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { fakeStorePath } from '../../test/support/fake-paths.ts';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import { baseNameOf } from '../nix/store-path.ts';
import { privateLayout } from './layout.ts';
import { findRoots, makeRootId, type RootRecord, readRoot, readRoots, removeRoot, writeRoot } from './roots.ts';

const base = (name: string) => baseNameOf(fakeStorePath(name));

function rootOf(name: string, changes: Partial<RootRecord> = {}): RootRecord {
  const identity = { name, request: `nixpkgs#${name}`, scope: 'run', origin: 'collected', ...changes } as const;
  const rest = { rootPaths: [base(name)], paths: [base(name), base('lib')].toSorted(), complete: true };
  return { format: 1, id: makeRootId(identity), ...identity, ...rest, ...changes };
}

async function withPlace(use: (place: { directory: string }, folder: string) => Promise<void>): Promise<void> {
  await using temp = await makeTempDir('roots');
  const folder = privateLayout(temp.path).rootsFolder;
  await mkdir(folder, { recursive: true });
  await use({ directory: temp.path }, folder);
}

test('readRoots gives back what writeRoot kept, sorted by name', () =>
  withPlace(async (place) => {
    const shipment = { sender: 'carrier-1', site: 'north', sequence: 42 };
    const roots = [rootOf('zsh', { origin: 'imported', shipment, recorded: '2030-01-01T00:00:00Z' }), rootOf('bash')];
    for (const root of roots) await writeRoot(place, root);
    assert.deepEqual(await readRoots(place), roots.toReversed());
    assert.deepEqual(await readRoot(place, roots[0]?.id ?? ''), roots[0]);
  }));

test('writeRoot replaces the record of the same request', () =>
  withPlace(async (place) => {
    await writeRoot(place, rootOf('bash', { complete: false }));
    await writeRoot(place, rootOf('bash', { paths: [base('z'), base('a'), base('z')] }));
    const [only, ...others] = await readRoots(place);
    assert.deepEqual(others, []);
    assert.equal(only?.complete, true);
    assert.deepEqual(only?.paths, [base('a'), base('z')].toSorted());
  }));

test('makeRootId makes a file name of anything, and another one for another request', () => {
  const identity = rootOf('x');
  const names = ['.#nixosConfigurations.web01', '', '../../etc', 'a'.repeat(500), 'ünïcödé', '/nix/store/x'];
  for (const name of names) assert.match(makeRootId({ ...identity, name }), /^[A-Za-z0-9][A-Za-z0-9._-]{0,119}$/);
  const shipment = { sender: 'a-1', site: 's', sequence: 1 };
  const ids = [
    identity,
    { ...identity, request: 'y' },
    { ...identity, scope: 'rebuild' } as const,
    { ...identity, shipment },
  ];
  assert.equal(new Set(ids.map(makeRootId)).size, 4);
  assert.equal(
    makeRootId({ ...identity, shipment }),
    makeRootId({ ...identity, shipment: { ...shipment, sequence: 2 } }),
  );
});

test('findRoots finds by id, name, request and root path', () =>
  withPlace(async (place) => {
    const bash = rootOf('bash');
    await writeRoot(place, bash);
    await writeRoot(place, rootOf('zsh'));
    const path = fakeStorePath('bash');
    for (const query of [bash.id, 'bash', 'nixpkgs#bash', path, base('bash'), base('bash').slice(0, 32)]) {
      assert.deepEqual(await findRoots(place, query), [bash], query);
    }
    assert.deepEqual(await findRoots(place, 'nixpkgs#fish'), []);
  }));

test('findRoots finds by the last part of a name when nothing is called so', () =>
  withPlace(async (place) => {
    const web = rootOf('nixosConfigurations.web01');
    await writeRoot(place, web);
    assert.deepEqual(await findRoots(place, 'web01'), [web]);
    assert.deepEqual(await findRoots(place, 'eb01'), []);
    const other = rootOf('web01');
    await writeRoot(place, other);
    assert.deepEqual(await findRoots(place, 'web01'), [other]);
  }));

test('removeRoot says whether there was one', () =>
  withPlace(async (place, folder) => {
    const root = rootOf('bash');
    await writeRoot(place, root);
    assert.equal(await removeRoot(place, root.id), true);
    assert.equal(await removeRoot(place, root.id), false);
    assert.deepEqual(await readdir(folder), []);
    await assert.rejects(removeRoot(place, '../../keys/secret'), { code: 'bad-root' });
  }));

test('readRoots names the file when a record is damaged or newer', () =>
  withPlace(async (place, folder) => {
    assert.deepEqual(await readRoots(place), []);
    for (const [text, code] of [
      ['{"format":2,"id":"x"}', 'newer-format'],
      ['{"format":1', 'damage'],
      [JSON.stringify({ ...rootOf('x'), paths: ['../../etc/passwd'] }), 'damage'],
      [JSON.stringify({ ...rootOf('x'), scope: 'all' }), 'damage'],
    ] as const) {
      await writeFile(`${folder}/x.json`, text);
      await assert.rejects(readRoots(place), { code, message: /x\.json/ });
    }
  }));
