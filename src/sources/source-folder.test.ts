import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import type { ProgressEvent } from '../base/progress.ts';
import { hashBytes } from '../nix/index.ts';
import { openSourceFolder } from './source-folder.ts';
import { fetchDerivation } from './test-support.ts';

async function setUp() {
  const temp = await makeTempDir('folder');
  await mkdir(temp.join('files/deep'), { recursive: true });
  const hashed: number[] = [];
  const open = async () => {
    let items = 0;
    const onProgress = (event: ProgressEvent) => {
      if (event.type === 'advance') items += event.items ?? 0;
    };
    const options = { cacheFolder: temp.join('cache'), onProgress, signal: new AbortController().signal };
    const folder = await openSourceFolder(temp.join('files'), options);
    hashed.push(items);
    return folder;
  };
  return { temp, open, hashed, [Symbol.asyncDispose]: () => temp[Symbol.asyncDispose]() };
}

function source(bytes: string) {
  return fetchDerivation('file', 'flat', hashBytes('sha512', bytes), { url: 'https://example.org/file' }).source;
}

test('openSourceFolder hashes a file once, and again when its size or time has changed', async () => {
  await using set = await setUp();
  const file = set.temp.join('files/deep/a');
  await writeFile(file, 'one');
  await writeFile(set.temp.join('files/b'), 'two');
  assert.deepEqual((await set.open()).find(source('one')), [{ kind: 'file', file }]);
  assert.equal((await set.open()).find(source('two')).length, 1);
  await writeFile(file, 'new');
  await utimes(file, 1, 1);
  const third = await set.open();
  assert.deepEqual([third.find(source('one')).length, third.find(source('new')).length], [0, 1]);
  await rm(file);
  assert.equal((await set.open()).find(source('new')).length, 0);
  assert.deepEqual(set.hashed, [2, 0, 1, 0]);
});

test('openSourceFolder does without what it remembers when that is damaged', async () => {
  await using set = await setUp();
  await writeFile(set.temp.join('files/a'), 'one');
  await set.open();
  const [name = ''] = await readdir(set.temp.join('cache'));
  const memory = set.temp.join('cache', name);
  const lines = await readFile(memory, 'utf8');
  for (const bad of ['rubbish\n', lines.slice(0, -20), lines.replace('sha512:', 'sha512:x'), '["a",1]\n']) {
    await writeFile(memory, bad);
    assert.equal((await set.open()).find(source('one')).length, 1);
  }
  assert.deepEqual(set.hashed, [1, 1, 1, 1, 1]);
});

test('openSourceFolder refuses what is no folder, and a binary cache', async () => {
  await using set = await setUp();
  await writeFile(set.temp.join('files/nix-cache-info'), 'StoreDir: /nix/store\n');
  await assert.rejects(set.open(), { code: 'usage', hint: /--upstream file:/ });
  await rm(set.temp.join('files'), { recursive: true });
  await assert.rejects(set.open(), { code: 'usage' });
});
