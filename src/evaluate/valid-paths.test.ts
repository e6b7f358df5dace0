import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmod, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { makeStoreDatabase } from '../../test/support/store-database.ts';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import { hashPartOf } from '../nix/store-path.ts';
import { openValidPaths, storeDatabaseFile } from './valid-paths.ts';

const STORE = '/nix/store';

test('openValidPaths refuses a folder without a store', async () => {
  await using temp = await makeTempDir('valid-paths');
  assert.throws(() => openValidPaths(temp.path, STORE), { code: 'usage' });
  assert.equal(storeDatabaseFile('/', STORE), '/nix/var/nix/db/db.sqlite');
});

test('ValidPaths.find tells all of a path, with what Nix has written ahead', async () => {
  await using temp = await makeTempDir('valid-paths');
  using store = makeStoreDatabase(temp.path);
  const dep = store.add({ name: 'dep', ca: 'text:sha256:1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s' });
  const top = store.add({ name: 'top', references: [dep], self: true, deriver: `${dep}.drv`, sigs: 'a:AA b:BB' });
  using paths = openValidPaths(temp.path, STORE);
  const found = paths.find(hashPartOf(top));
  assert.deepEqual(found?.references, [dep, top].toSorted());
  assert.deepEqual(found.signatures, ['a:AA', 'b:BB']);
  assert.equal(found.deriver, `${dep}.drv`);
  assert.match(paths.find(hashPartOf(dep))?.contentAddress ?? '', /^text:/);
  const later = store.add({ name: 'later' });
  assert.equal(paths.find(hashPartOf(later))?.storePath, later);
  store.remove(later);
  assert.equal(paths.find(hashPartOf(later)), undefined);
});

test('ValidPaths.find passes over rows that no Nix would have written', async () => {
  await using temp = await makeTempDir('valid-paths');
  using store = makeStoreDatabase(temp.path);
  const odd = [
    store.add({ name: 'no-size', narSize: null }),
    store.add({ name: 'empty', narSize: 0 }),
    store.add({ name: 'bad-hash', hash: 'sha256:zz' }),
    store.add({ name: 'climbs/../../etc' }),
    store.add({ name: 'bad-deriver', deriver: '/etc/passwd' }),
  ];
  using paths = openValidPaths(temp.path, STORE);
  for (const path of odd) assert.equal(paths.find(hashPartOf(path)), undefined, path);
});

test('ValidPaths.find reads the new database when the store was made anew', async () => {
  await using temp = await makeTempDir('valid-paths');
  const first = makeStoreDatabase(temp.path);
  const old = first.add({ name: 'old' });
  using paths = openValidPaths(temp.path, STORE);
  assert.equal(paths.find(hashPartOf(old))?.storePath, old);
  first[Symbol.dispose]();
  await rename(temp.join('nix'), temp.join('gone'));
  assert.equal(paths.find(hashPartOf(old)), undefined);
  using second = makeStoreDatabase(temp.path);
  const fresh = second.add({ name: 'fresh' });
  assert.equal(paths.find(hashPartOf(old)), undefined);
  assert.equal(paths.find(hashPartOf(fresh))?.storePath, fresh);
});

test('ValidPaths.find says that it cannot read a database that is none', async () => {
  await using temp = await makeTempDir('valid-paths');
  const file = storeDatabaseFile(temp.path, STORE);
  await mkdir(temp.join('nix/var/nix/db'), { recursive: true });
  await writeFile(file, 'not a database at all'.repeat(100));
  using paths = openValidPaths(temp.path, STORE);
  assert.throws(() => paths.find(hashPartOf(`${STORE}/${'a'.repeat(32)}-x` as never)), { code: 'damage' });
});

test('ValidPaths.find works for a user who may not write to the folder, also after Nix has ended', async (context) => {
  if (process.getuid?.() !== 0) {
    context.skip('only root can become another user');
    return;
  }
  await using temp = await makeTempDir('valid-paths');
  await chmod(temp.path, 0o755);
  const store = makeStoreDatabase(temp.path);
  const path = store.add({ name: 'one' });
  const ask = (wanted: string): string => {
    const program = `
      process.setgid(65534); process.setuid(65534);
      const { openValidPaths } = await import(${JSON.stringify(new URL('./valid-paths.ts', import.meta.url).href)});
      const paths = openValidPaths(${JSON.stringify(temp.path)}, '${STORE}');
      console.log(paths.find('${hashPartOf(wanted as never)}')?.storePath);
      const { writeSync } = await import('node:fs');
    `;
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
      encoding: 'utf8',
    });
    return stdout.trim() + stderr;
  };
  // Nix is running: what it has written ahead counts.
  assert.equal(ask(path), path);
  store[Symbol.dispose]();
  await rm(`${storeDatabaseFile(temp.path, STORE)}-shm`, { force: true });
  assert.equal(ask(path), path);
});
