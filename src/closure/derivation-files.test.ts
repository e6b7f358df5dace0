import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { fakeStorePath } from '../../test/support/fake-paths.ts';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import { baseNameOf } from '../nix/store-path.ts';
import { derivationFiles } from './derivation-files.ts';

test('derivationFiles reads plain files of the folder, and nothing else', async () => {
  await using temp = await makeTempDir('derivations');
  const [there, folder, absent] = ['there.drv', 'folder.drv', 'absent.drv'].map((name) => fakeStorePath(name));
  assert.ok(there !== undefined && folder !== undefined && absent !== undefined);
  await writeFile(temp.join(baseNameOf(there)), 'Derive()');
  await mkdir(temp.join(baseNameOf(folder)));
  const read = derivationFiles(temp.path);
  assert.equal(String(await read(there)), 'Derive()');
  assert.equal(await read(folder), undefined);
  assert.equal(await read(absent), undefined);
  assert.equal(await derivationFiles(temp.join('nowhere'))(there), undefined);
});

test('derivationFiles lets others have their turn when much is read', async () => {
  await using temp = await makeTempDir('derivations');
  const path = fakeStorePath('one.drv');
  await writeFile(temp.join(baseNameOf(path)), 'Derive()');
  const read = derivationFiles(temp.path);
  let turns = 0;
  const timer = setInterval(() => (turns += 1), 0);
  for (let count = 0; count < 3000; count += 1) await read(path);
  clearInterval(timer);
  assert.ok(turns > 0);
});
