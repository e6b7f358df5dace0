import assert from 'node:assert/strict';
import { readdir, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { type FakePath, makeFakePath } from '../../test/support/fake-paths.ts';
import { makeTempDir, type TempDir } from '../../test/support/temp-dir.ts';
import { narName } from '../mirror/layout.ts';
import { hashDigest } from '../nix/hash.ts';
import { hashPartOf } from '../nix/store-path.ts';
import { type HeldPath, HeldPaths } from './held-paths.ts';

const never = new AbortController().signal;

async function bring(temp: TempDir, { info, file }: FakePath) {
  const brought = temp.join(`brought-${hashPartOf(info.storePath)}`);
  await writeFile(brought, file);
  assert.ok(info.fileHash !== undefined);
  return { info: { ...info, url: narName(hashDigest(info.fileHash), 'xz') }, brought };
}

async function hold(held: HeldPaths, { info, brought }: Awaited<ReturnType<typeof bring>>): Promise<HeldPath> {
  const path = held.take(info, brought);
  await held.keep(path);
  return path;
}

async function openHeld(temp: TempDir): Promise<HeldPaths> {
  const held = new HeldPaths(temp.join('held'), '/nix/store');
  await held.restore(Date.now(), never);
  return held;
}

test('HeldPaths finds what it held after a restart, and drops what has been damaged, is old, or lacks its half', async () => {
  await using temp = await makeTempDir('held');
  const held = await openHeld(temp);
  const [good, bad] = [await bring(temp, await makeFakePath('good')), await bring(temp, await makeFakePath('bad'))];
  await hold(held, good);
  const { narFile } = await hold(held, bad);
  await writeFile(narFile, 'changed');
  await writeFile(temp.join('held/nobodys.nar'), 'x');
  const again = await openHeld(temp);
  assert.ok(again.get(good.info.storePath) !== undefined);
  assert.equal(again.get(bad.info.storePath), undefined);
  assert.equal(again.file(good.info.url)?.sizeBytes, good.info.fileSizeBytes);
  assert.equal((await readdir(temp.join('held'))).length, 2);
  const late = new HeldPaths(temp.join('held'), '/nix/store');
  await late.restore(Date.now() + 40 * 24 * 3600_000, never);
  assert.equal(late.size, 0);
  assert.deepEqual(await readdir(temp.join('held')), []);
});

test('HeldPaths keeps a NAR as long as one of the paths that have it is held', async () => {
  await using temp = await makeTempDir('held');
  const held = await openHeld(temp);
  const fake = await makeFakePath('one', { contents: 'the same' });
  const twin = await makeFakePath('two', { contents: 'the same' });
  const [first, second] = [await bring(temp, fake), await bring(temp, twin)];
  await hold(held, first);
  await hold(held, second);
  await held.remove(first.info);
  assert.ok(held.file(second.info.url) !== undefined);
  await held.remove(second.info);
  assert.deepEqual(await readdir(temp.join('held')), []);
});
