import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { makeRoomFolder, removeAbandonedRooms } from './room-folder.ts';

let work = '';
before(async () => {
  work = await mkdtemp(join(tmpdir(), 'nixferry-rooms-'));
});
after(() => rm(work, { recursive: true, force: true }));

test('makeRoomFolder makes a folder that goes with all that is in it, however it is protected', async () => {
  {
    await using folder = await makeRoomFolder(work);
    await mkdir(join(folder.path, 'store/path'), { recursive: true });
    await writeFile(join(folder.path, 'store/path/file'), '');
    for (const name of ['store/path', 'store']) await chmod(join(folder.path, name), 0o555);
  }
  assert.deepEqual(await readdir(work), []);
});

test('removeAbandonedRooms removes what nobody holds, and neither a running rehearsal nor what only is called like one', async () => {
  await using held = await makeRoomFolder(work);
  const abandoned = join(work, 'nixferry-rehearsal-0123456789abcdef');
  await mkdir(join(abandoned, 'root'), { recursive: true });
  await chmod(join(abandoned, 'root'), 0o555);
  await mkdir(join(work, 'nixferry-rehearsal-of-mine'));
  await symlink(tmpdir(), join(work, 'nixferry-rehearsal-fedcba9876543210'));
  assert.equal(await removeAbandonedRooms(work), 1);
  const left = (await readdir(work)).filter((name) => !held.path.endsWith(name) && !`${held.path}.lock`.endsWith(name));
  assert.deepEqual(left, ['nixferry-rehearsal-fedcba9876543210', 'nixferry-rehearsal-of-mine']);
});
