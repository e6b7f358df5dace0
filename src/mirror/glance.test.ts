import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { asCandidate, fakeStorePath, makeFakePath } from '../../test/support/fake-paths.ts';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import { hashPartOf } from '../nix/store-path.ts';
import { findAnyPath, glanceAtIndex, indexToken } from './glance.ts';
import { privateLayout } from './layout.ts';
import { openMirror } from './mirror.ts';
import { publish } from './publish.ts';

test('glanceAtIndex counts what the index says, beside a writer too, and says nothing where there is none', async () => {
  await using temp = await makeTempDir('glance');
  await mkdir(temp.join('files'));
  const layout = privateLayout(temp.join('mirror'));
  assert.equal(glanceAtIndex(layout), undefined);
  assert.equal(await indexToken(layout), 'none');
  await using mirror = await openMirror(temp.join('mirror'), { access: 'write', create: true });
  assert.equal(await findAnyPath(mirror.directory), undefined);
  const path = await makeFakePath('hello');
  await publish(mirror, [await asCandidate(path, temp.join('files'))]);
  assert.deepEqual(glanceAtIndex(layout), { paths: 1, fileBytes: path.info.fileSizeBytes });
  assert.equal(await findAnyPath(mirror.directory), hashPartOf(fakeStorePath('hello')));
  const before = await indexToken(layout);
  await publish(mirror, [await asCandidate(await makeFakePath('other'), temp.join('files'))]);
  assert.notEqual(await indexToken(layout), before);
  assert.equal(glanceAtIndex(layout)?.paths, 2);
  // While somebody writes, nobody waits.
  using writer = new DatabaseSync(layout.indexFile);
  writer.exec('BEGIN EXCLUSIVE');
  assert.equal(glanceAtIndex(layout), undefined);
});

test('findAnyPath gives up on a folder that holds other things', async () => {
  await using temp = await makeTempDir('glance');
  assert.equal(await findAnyPath(temp.path), undefined);
  await writeFile(temp.join('nix-cache-info'), '');
  assert.equal(await findAnyPath(temp.path), undefined);
});

test('glanceAtIndex says nothing of a file that is no index', async () => {
  await using temp = await makeTempDir('glance');
  const layout = privateLayout(temp.path);
  await mkdir(layout.folder);
  await writeFile(layout.indexFile, 'no database');
  assert.equal(glanceAtIndex(layout), undefined);
});
