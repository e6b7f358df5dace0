import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  freeBytes,
  makeFolders,
  makeTempName,
  readBounded,
  readFileIfExists,
  TEMP_NAME_PREFIX,
  writeFileAtomic,
} from './files.ts';

let folder = '';
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nixferry-files-'));
});
after(() => rm(folder, { recursive: true, force: true }));

test('writeFileAtomic replaces a file whole and leaves no temp file behind', async () => {
  const own = await makeFolder('replace');
  const path = join(own, 'file');
  await writeFile(path, 'a much longer text than the new one');
  await writeFileAtomic(path, 'new');
  assert.equal(await readFile(path, 'utf8'), 'new');
  assert.deepEqual(await readdir(own), ['file']);
});

test('writeFileAtomic gives the mode that was asked for when a file of another mode is there', async () => {
  const path = join(folder, 'secret');
  await writeFile(path, '', { mode: 0o644 });
  await writeFileAtomic(path, 'key', { mode: 0o600 });
  assert.equal((await stat(path)).mode & 0o777, 0o600);
});

test('writeFileAtomic removes its temp file when the rename fails', async () => {
  const own = await makeFolder('occupied');
  await mkdir(join(own, 'file'));
  await assert.rejects(writeFileAtomic(join(own, 'file'), 'new'), { code: 'EISDIR' });
  assert.deepEqual(await readdir(own), ['file']);
});

test('makeTempName gives fresh names of bounded length in the folder of the file', () => {
  const path = `/a/b/${'n'.repeat(255)}`;
  const name = makeTempName(path);
  assert.ok(name.startsWith(`/a/b/${TEMP_NAME_PREFIX}`));
  assert.ok(name.length < 64);
  assert.notEqual(makeTempName(path), name);
});

test('readFileIfExists says undefined when the file or a folder on the way is missing', async () => {
  await writeFile(join(folder, 'plain'), '');
  assert.equal(await readFileIfExists(join(folder, 'missing'), 10), undefined);
  assert.equal(await readFileIfExists(join(folder, 'plain', 'below'), 10), undefined);
});

test('readFileIfExists reads up to its bound and refuses one byte more', async () => {
  const path = join(folder, 'ten');
  await writeFile(path, '0123456789');
  assert.equal((await readFileIfExists(path, 10))?.toString(), '0123456789');
  await assert.rejects(readFileIfExists(path, 9), { code: 'damage' });
});

test('readFileIfExists reads files whose size the system does not tell', async () => {
  const status = await readFileIfExists('/proc/self/status', 100_000);
  assert.match(status?.toString() ?? '', /^Name:/);
  await assert.rejects(readFileIfExists('/proc/self/status', 100), { code: 'damage' });
});

test('readFileIfExists refuses pipes and folders without waiting', async () => {
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  await symlink(pipe, join(folder, 'to-pipe'));
  await assert.rejects(readFileIfExists(pipe, 10), { code: 'damage' });
  await assert.rejects(readFileIfExists(join(folder, 'to-pipe'), 10), { code: 'damage' });
  await assert.rejects(readFileIfExists(folder, 10), { code: 'damage' });
});

test('readBounded closes the source when there are more bytes than allowed', async () => {
  let closed = false;
  async function* source() {
    try {
      for (;;) yield Buffer.from('12345');
    } finally {
      closed = true;
    }
  }
  await assert.rejects(readBounded(source(), 14, 'the list'), {
    code: 'damage',
    message: /the list is longer than 14/,
  });
  assert.ok(closed);
  assert.equal((await readBounded([Buffer.from('ab'), Buffer.from('c')], 3)).toString(), 'abc');
});

test('freeBytes asks the nearest existing parent when the path does not exist yet', async () => {
  const free = await freeBytes(join(folder, 'not', 'yet', 'there'));
  assert.ok(free > 0);
});

async function makeFolder(name: string): Promise<string> {
  const path = join(folder, name);
  await mkdir(path);
  return path;
}

test('makeFolders makes what is missing, and fails where nothing can be made', async () => {
  const path = join(await makeFolder('folders'), 'a', 'b', 'c');
  await makeFolders(path);
  await makeFolders(path);
  assert.equal((await stat(path)).isDirectory(), true);
  await assert.rejects(makeFolders('/proc/nixferry/mirror'), { code: 'ENOENT' });
});
