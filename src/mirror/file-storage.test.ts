import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, rm, symlink } from 'node:fs/promises';
import { test } from 'node:test';
import { testStorageConformance } from '../../test/support/storage-conformance.ts';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import { openFileStorage } from './file-storage.ts';

testStorageConformance('openFileStorage', async (use) => {
  await using temp = await makeTempDir('storage');
  await mkdir(temp.join('files'));
  await mkdir(temp.join('local'));
  await use(openFileStorage(temp.join('files')), temp.join('local'));
});

testStorageConformance('openFileStorage with a folder for temp files', async (use) => {
  await using temp = await makeTempDir('storage');
  for (const name of ['files', 'files/.nixferry', 'files/.nixferry/tmp', 'local']) await mkdir(temp.join(name));
  await use(
    openFileStorage(temp.join('files'), { tempDirectory: temp.join('files/.nixferry/tmp') }),
    temp.join('local'),
  );
});

test('openFileStorage leaves no temp file behind when a write fails', async () => {
  await using temp = await makeTempDir('storage');
  await mkdir(temp.join('taken'));
  await mkdir(temp.join('taken', 'inner'));
  const storage = openFileStorage(temp.path);
  await assert.rejects(storage.write('taken', 'a folder is in the way'));
  assert.deepEqual(await readdir(temp.path), ['taken']);
});

test('openFileStorage copies across file systems when the target folder is another one', async () => {
  await using temp = await makeTempDir('storage');
  // Memory on every Linux, and so never the file system of the temp folder's files in `temp`.
  const elsewhere = await mkdtemp('/dev/shm/nixferry-storage-');
  try {
    await symlink(elsewhere, temp.join('nar'));
    const storage = openFileStorage(temp.path, { tempDirectory: temp.path });
    await storage.write('nar/x', 'over there');
    assert.equal((await storage.read('nar/x'))?.toString(), 'over there');
    assert.deepEqual(await readdir(elsewhere), ['x']);
  } finally {
    await rm(elsewhere, { recursive: true });
  }
});
