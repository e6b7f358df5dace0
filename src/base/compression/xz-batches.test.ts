import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { chmod, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeTempDir } from '../../../test/support/temp-dir.ts';
import { LIMITS } from '../limits.ts';
import { findDecompressor } from './decompress-program.ts';
import { XzBatches } from './xz-batches.ts';

const xz = findDecompressor('xz') ?? assert.fail('the program xz is missing');

interface Packed {
  readonly file: string;
  readonly outputBytes: number;
  readonly sha256: Buffer;
}

async function pack(folder: string, name: string, contents: Buffer): Promise<Packed> {
  const file = join(folder, name);
  await writeFile(file, execFileSync('xz', ['-1c'], { input: contents }));
  return { file, outputBytes: contents.length, sha256: createHash('sha256').update(contents).digest() };
}

function packMany(folder: string, count: number): Promise<Packed[]> {
  return Promise.all(
    Array.from({ length: count }, (_, index) => pack(folder, `${index}.xz`, randomBytes(index * 1009))),
  );
}

test('XzBatches gives each file its own hash when many are decoded together', async () => {
  await using temp = await makeTempDir('xz-batches');
  const files = await packMany(temp.path, LIMITS.xzBatchFiles + 10);
  const batches = new XzBatches(1);
  const hashes = await Promise.all(files.map(({ file, outputBytes }) => batches.hash(xz, file, outputBytes)));
  assert.deepEqual(
    hashes,
    files.map(({ sha256 }) => sha256),
  );
});

test('XzBatches starts far fewer programs than there are files', async () => {
  await using temp = await makeTempDir('xz-batches');
  const log = join(temp.path, 'log');
  const program = join(temp.path, 'xz');
  await writeFile(program, `#!/bin/sh\necho started >> ${log}\nexec ${xz.file} "$@"\n`);
  await chmod(program, 0o755);
  const files = await packMany(temp.path, 40);
  const batches = new XzBatches(2);
  const start = { file: program, args: [] };
  const hashes = await Promise.all(files.map(({ file, outputBytes }) => batches.hash(start, file, outputBytes)));
  assert.ok(hashes.every((hash) => hash !== undefined));
  const starts = (await readFile(log, 'utf8')).trim().split('\n').length;
  assert.ok(starts <= 12, `${starts} programs for 40 files`);
});

test('XzBatches knows nothing of a batch in which one file is cut short', async () => {
  await using temp = await makeTempDir('xz-batches');
  const [good, bad] = await packMany(temp.path, 3).then((files) => files.slice(1) as [Packed, Packed]);
  await truncate(bad.file, 100);
  const batches = new XzBatches(1);
  // The first to come goes alone; the others wait for it, and then go together.
  const first = batches.hash(xz, good.file, good.outputBytes);
  const together = [good, bad].map(({ file, outputBytes }) => batches.hash(xz, file, outputBytes));
  assert.deepEqual(await first, good.sha256);
  assert.deepEqual(await Promise.all(together), [undefined, undefined]);
  assert.deepEqual(await batches.hash(xz, good.file, good.outputBytes), good.sha256);
});

test('XzBatches knows nothing when a file decodes to more or to less than it was said to', async () => {
  await using temp = await makeTempDir('xz-batches');
  const packed = await pack(temp.path, 'some.xz', randomBytes(300_000));
  const batches = new XzBatches(1);
  for (const wrong of [-1, 1, -200_000]) {
    assert.equal(await batches.hash(xz, packed.file, packed.outputBytes + wrong), undefined);
  }
});

test('XzBatches knows nothing when the program cannot be started', async () => {
  const missing = { file: '/nowhere/xz', args: [] };
  assert.equal(await new XzBatches(1).hash(missing, '/nowhere/file.xz', 10), undefined);
});

test('XzBatches rejects with the reason when it is aborted, and ends the program', async () => {
  await using temp = await makeTempDir('xz-batches');
  const program = join(temp.path, 'xz');
  await writeFile(program, '#!/bin/sh\nexec sleep 600\n');
  await chmod(program, 0o755);
  const batches = new XzBatches(1);
  const stop = new AbortController();
  const reason = new Error('enough');
  const running = batches.hash({ file: program, args: [] }, 'a', 1, stop.signal);
  const waiting = batches.hash({ file: program, args: [] }, 'b', 1, stop.signal);
  stop.abort(reason);
  await assert.rejects(running, reason);
  await assert.rejects(waiting, reason);
  assert.throws(() => batches.hash({ file: program, args: [] }, 'c', 1, stop.signal), reason);
});
