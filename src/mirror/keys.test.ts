import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import { formatPublicKey, formatSecretKey, generateSecretKey, publicKeyOf } from '../nix/signature.ts';
import {
  checkKeyName,
  defaultKeyName,
  generateMirrorKey,
  importMirrorKey,
  readMirrorPublicKey,
  readSecretKey,
} from './keys.ts';
import { privateLayout } from './layout.ts';
import { distrustKey, readTrustedKeys, trustKey } from './trusted-keys.ts';

async function withPlace(use: (place: { directory: string }) => Promise<void>): Promise<void> {
  await using temp = await makeTempDir('keys');
  await mkdir(privateLayout(temp.path).folder, { recursive: true });
  await use({ directory: temp.path });
}

test('generateMirrorKey keeps a secret that only its owner reads, and a public key beside it', () =>
  withPlace(async (place) => {
    assert.equal(await readSecretKey(place), undefined);
    const key = await generateMirrorKey(place, 'carrier-1');
    const read = await readSecretKey(place);
    assert.equal(formatSecretKey(read?.key ?? assert.fail()), formatSecretKey(key));
    assert.deepEqual(read?.warnings, []);
    assert.equal((await stat(privateLayout(place.directory).secretKeyFile)).mode & 0o777, 0o600);
    const publicKey = await readMirrorPublicKey(place);
    assert.equal(formatPublicKey(publicKey ?? assert.fail()), formatPublicKey(publicKeyOf(key)));
  }));

test('generateMirrorKey replaces a key only when it is told to', () =>
  withPlace(async (place) => {
    await generateMirrorKey(place, 'old-1');
    await assert.rejects(generateMirrorKey(place, 'new-1'), { code: 'target-occupied' });
    await assert.rejects(importMirrorKey(place, formatSecretKey(generateSecretKey('new-1'))), {
      code: 'target-occupied',
    });
    assert.equal((await readSecretKey(place))?.key.name, 'old-1');
    await generateMirrorKey(place, 'new-1', { replace: true });
    assert.equal((await readMirrorPublicKey(place))?.name, 'new-1');
  }));

test('importMirrorKey takes a Nix secret key, and nothing else', () =>
  withPlace(async (place) => {
    const key = generateSecretKey('mine-1');
    for (const text of [
      '',
      'nonsense',
      formatPublicKey(publicKeyOf(key)),
      `bad name:${formatSecretKey(key).split(':')[1]}`,
    ]) {
      await assert.rejects(importMirrorKey(place, text), { code: 'bad-key' });
    }
    await importMirrorKey(place, `${formatSecretKey(key)}\n`);
    assert.equal((await readSecretKey(place))?.key.name, 'mine-1');
  }));

test('checkKeyName takes names that fit a line and a file name', () => {
  for (const name of ['cache.nixos.org-1', defaultKeyName(), 'a@b+c=d_1']) assert.equal(checkKeyName(name), name);
  for (const name of ['', '.hidden', '../up', 'a/b', 'a:b', 'a b', 'a\nb', 'ü', 'x'.repeat(121)]) {
    assert.throws(() => checkKeyName(name), { code: 'bad-key' }, name);
  }
});

test('defaultKeyName gives every mirror of a machine another name', () => {
  const names = Array.from({ length: 20 }, defaultKeyName);
  assert.equal(new Set(names).size, names.length);
  assert.equal(new Set(names.map((name) => name.slice(0, -'-012345'.length))).size, 1);
  for (const name of names) assert.match(name, /-[0-9a-f]{6}$/);
});

test('trustKey trusts for one purpose only', () =>
  withPlace(async (place) => {
    const key = publicKeyOf(generateSecretKey('upstream-1'));
    await trustKey(place, 'upstream', key);
    await trustKey(place, 'upstream', key);
    assert.deepEqual(await readTrustedKeys(place, 'upstream'), [key]);
    assert.deepEqual(await readTrustedKeys(place, 'sender'), []);
  }));

test('trustKey refuses another key of the same name', () =>
  withPlace(async (place) => {
    const key = publicKeyOf(generateSecretKey('upstream-1'));
    await trustKey(place, 'sender', key);
    await assert.rejects(trustKey(place, 'sender', publicKeyOf(generateSecretKey('upstream-1'))), { code: 'bad-key' });
    assert.deepEqual(await readTrustedKeys(place, 'sender'), [key]);
    assert.equal(await distrustKey(place, 'sender', 'upstream-1'), true);
    assert.equal(await distrustKey(place, 'sender', 'upstream-1'), false);
    assert.deepEqual(await readTrustedKeys(place, 'sender'), []);
  }));

test('readTrustedKeys refuses a file whose name is not that of its key, or that holds none', () =>
  withPlace(async (place) => {
    await trustKey(place, 'sender', publicKeyOf(generateSecretKey('honest-1')));
    const folder = `${privateLayout(place.directory).trustedKeysFolder}/sender`;
    assert.deepEqual(await readdir(folder), ['honest-1.pub']);
    await rename(`${folder}/honest-1.pub`, `${folder}/other-1.pub`);
    await assert.rejects(readTrustedKeys(place, 'sender'), { code: 'bad-key', message: /holds the key honest-1/ });
    await writeFile(`${folder}/other-1.pub`, 'nonsense');
    await assert.rejects(readTrustedKeys(place, 'sender'), { code: 'bad-key', message: /other-1\.pub/ });
    assert.match(await readFile(`${folder}/other-1.pub`, 'utf8'), /nonsense/);
  }));
