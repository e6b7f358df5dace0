import assert from 'node:assert/strict';
import { symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeMirror, openApp } from './mirror-fixture.test.ts';

test('files are not served when a link leads out of the mirror or into its private folder', async () => {
  await using mirror = await makeMirror();
  await using other = await makeMirror();
  await using app = await openApp(mirror.directory);
  await other.write('nar/outside.nar', 'outside');
  await mirror.write('.nixferry/private', 'private');
  await symlink(join(other.directory, 'nar', 'outside.nar'), join(mirror.directory, 'nar', 'a.nar'));
  await symlink('../.nixferry/private', join(mirror.directory, 'nar', 'b.nar'));
  await symlink('loop.nar', join(mirror.directory, 'nar', 'loop.nar'));
  await writeFile(join(mirror.directory, 'nar', 'good.nar'), 'good');
  await symlink('good.nar', join(mirror.directory, 'nar', 'c.nar'));
  for (const name of ['a', 'b', 'loop']) assert.equal((await app.inject(`/nar/${name}.nar`)).statusCode, 404, name);
  assert.equal((await app.inject('/nar/c.nar')).body, 'good');
});
