import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { makeFakePath } from '../../test/support/fake-paths.ts';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import { formatNarInfo } from '../nix/narinfo.ts';
import { formatPublicKey } from '../nix/signature.ts';
import { hashPartOf } from '../nix/store-path.ts';
import { openMirror } from './mirror.ts';

test('openMirror makes a plain binary cache with a key when the folder is new', async () => {
  await using temp = await makeTempDir('mirror');
  const directory = temp.join('new');
  {
    await using mirror = await openMirror(directory, { access: 'write', create: true, keyName: 'carrier-1' });
    assert.equal(mirror.secretKey.name, 'carrier-1');
    assert.match(formatPublicKey(mirror.publicKey), /^carrier-1:/);
  }
  assert.equal(
    await readFile(`${directory}/nix-cache-info`, 'utf8'),
    'StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 30\n',
  );
  const folders = (await readdir(directory)).toSorted();
  assert.deepEqual(folders, ['.nixferry', 'build-trace-v2', 'log', 'nar', 'nix-cache-info', 'realisations']);
  assert.equal((await stat(`${directory}/.nixferry/keys/secret`)).mode & 0o777, 0o600);
  await using again = await openMirror(directory, { access: 'read' });
  assert.equal(again.publicKey.name, 'carrier-1');
  assert.throws(() => again.secretKey, /opened to read/);
});

test('openMirror finishes what it had begun when it was killed before it wrote nix-cache-info', async () => {
  await using temp = await makeTempDir('mirror');
  for (const folder of ['.nixferry', 'nar', 'log']) await mkdir(temp.join(folder));
  await using mirror = await openMirror(temp.path, { access: 'write', create: true });
  assert.ok(existsSync(temp.join('nix-cache-info')));
  assert.equal(mirror.storeDir, '/nix/store');
});

test('openMirror keeps the key and the store folder when it is opened again', async () => {
  await using temp = await makeTempDir('mirror');
  const first = await openMirror(temp.path, { access: 'write', create: true, storeDir: '/srv/store' });
  const key = formatPublicKey(first.publicKey);
  await first.close();
  await using second = await openMirror(temp.path, { access: 'write', keyName: 'another-1' });
  assert.equal(formatPublicKey(second.publicKey), key);
  assert.equal(second.storeDir, '/srv/store');
});

test('openMirror refuses a store folder that is not the mirror’s', async () => {
  await using temp = await makeTempDir('mirror');
  await (await openMirror(temp.path, { access: 'write', create: true })).close();
  for (const access of ['read', 'write'] as const) {
    await assert.rejects(openMirror(temp.path, { access, storeDir: '/srv/store' }), { code: 'store-dir-mismatch' });
  }
  await (await openMirror(temp.path, { access: 'write', storeDir: '/nix/store' })).close();
});

test('openMirror refuses a folder with other files, and touches nothing in it', async () => {
  await using temp = await makeTempDir('mirror');
  await writeFile(temp.join('thesis.txt'), 'precious');
  for (const access of ['read', 'write'] as const) {
    await assert.rejects(openMirror(temp.path, { access, create: true }), { code: 'not-a-mirror' });
  }
  assert.deepEqual(await readdir(temp.path), ['thesis.txt']);
});

test('openMirror refuses a missing folder unless it is to make one', async () => {
  await using temp = await makeTempDir('mirror');
  const directory = temp.join('missing');
  await assert.rejects(openMirror(directory, { access: 'read' }), { code: 'not-a-mirror' });
  await assert.rejects(openMirror(directory, { access: 'write' }), (error: { code: string; hint: string }) => {
    assert.equal(error.code, 'not-a-mirror');
    assert.match(error.hint, /nixferry init/);
    return true;
  });
  assert.equal(existsSync(directory), false);
});

test('openMirror refuses a shipment, and folders inside one', async () => {
  await using temp = await makeTempDir('mirror');
  await mkdir(temp.join('site-0001', 'volumes', 'deep'), { recursive: true });
  await writeFile(temp.join('site-0001', 'manifest.json'), '{}');
  await writeFile(temp.join('site-0001', 'inventory.jsonl.zst'), '');
  for (const inside of ['site-0001', 'site-0001/volumes', 'site-0001/volumes/deep', 'site-0001/new']) {
    await assert.rejects(openMirror(temp.join(inside), { access: 'write', create: true }), (error: Error) => {
      assert.match(error.message, /inside the shipment .*site-0001/);
      return true;
    });
  }
});

test('openMirror adopts a plain binary cache when it is told to, and refuses it otherwise', async () => {
  await using temp = await makeTempDir('mirror');
  const path = await makeFakePath('hello', { storeDir: '/gnu/store' });
  const hashPart = hashPartOf(path.info.storePath);
  await writeFile(temp.join('nix-cache-info'), 'StoreDir: /gnu/store\n');
  await writeFile(temp.join(`${hashPart}.narinfo`), formatNarInfo(path.info));
  {
    await using plain = await openMirror(temp.path, { access: 'read' });
    assert.equal(plain.hasKey, false);
    assert.throws(() => plain.publicKey, { code: 'not-a-mirror' });
    assert.equal(await plain.index.has(hashPart), true);
    assert.equal(existsSync(temp.join('.nixferry')), false);
  }
  await assert.rejects(openMirror(temp.path, { access: 'write', create: true }), { code: 'not-a-mirror' });
  assert.equal(existsSync(temp.join('.nixferry')), false);
  await using mirror = await openMirror(temp.path, { access: 'write', adopt: true });
  assert.equal(mirror.storeDir, '/gnu/store');
  assert.equal((await mirror.index.totals()).paths, 1);
  assert.deepEqual(await mirror.readNarInfo(hashPart), path.info);
});

test('openMirror refuses a mirror of a newer format', async () => {
  await using temp = await makeTempDir('mirror');
  await (await openMirror(temp.path, { access: 'write', create: true })).close();
  await writeFile(temp.join('.nixferry/mirror.json'), '{"format":2}');
  for (const access of ['read', 'write'] as const) {
    await assert.rejects(openMirror(temp.path, { access }), { code: 'newer-format', exitCode: 17 });
  }
  await writeFile(temp.join('.nixferry/mirror.json'), '{"format":"x"}');
  await assert.rejects(openMirror(temp.path, { access: 'read' }), { code: 'damage' });
});

test('openMirror names the holder when another writes, and readers still get in', async () => {
  await using temp = await makeTempDir('mirror');
  const first = await openMirror(temp.path, { access: 'write', create: true, command: 'nixferry collect hello' });
  await assert.rejects(openMirror(temp.path, { access: 'write' }), (error: { code: string; message: string }) => {
    assert.equal(error.code, 'mirror-locked');
    assert.match(error.message, new RegExp(`process ${process.pid} \\(nixferry collect hello\\) since 20`));
    return true;
  });
  await using reader = await openMirror(temp.path, { access: 'read' });
  assert.equal((await reader.index.totals()).paths, 0);
  await first.close();
  await (await openMirror(temp.path, { access: 'write' })).close();
});

test('openMirror warns when others can read the secret key', async () => {
  await using temp = await makeTempDir('mirror');
  await (await openMirror(temp.path, { access: 'write', create: true })).close();
  await chmod(temp.join('.nixferry/keys/secret'), 0o644);
  await using mirror = await openMirror(temp.path, { access: 'write' });
  assert.match(mirror.warnings.join(), /chmod 600/);
});

test('readNarInfo calls it damage when the narinfo is cut short or is another path’s', async () => {
  await using temp = await makeTempDir('mirror');
  await using mirror = await openMirror(temp.path, { access: 'write', create: true });
  const { info } = await makeFakePath('one');
  const other = await makeFakePath('other');
  const hashPart = hashPartOf(info.storePath);
  assert.equal(await mirror.readNarInfo(hashPart), undefined);
  for (const text of [formatNarInfo(info).slice(0, -5), formatNarInfo(other.info), '']) {
    await mirror.storage.write(`${hashPart}.narinfo`, text);
    await assert.rejects(mirror.readNarInfo(hashPart), { code: 'damage' });
  }
});
