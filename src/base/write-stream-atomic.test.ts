import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { writeStreamAtomic } from './write-stream-atomic.ts';

async function inFolder(work: (file: string, folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'nixferry-write-'));
  try {
    await work(join(folder, 'page.html'), folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

function* pieces(count: number, failAt = Number.POSITIVE_INFINITY): Generator<string> {
  for (let index = 0; index < count; index++) {
    if (index === failAt) throw new Error('the source broke');
    yield 'é'.repeat(1000);
  }
}

test('writeStreamAtomic puts all pieces into place and gives their size', () =>
  inFolder(async (file, folder) => {
    assert.equal(await writeStreamAtomic(file, pieces(1000)), 2_000_000);
    assert.equal(await readFile(file, 'utf8'), 'é'.repeat(1_000_000));
    assert.deepEqual(await readdir(folder), ['page.html']);
  }));

test('writeStreamAtomic leaves the old file alone when the pieces break off', () =>
  inFolder(async (file, folder) => {
    await writeFile(file, 'old');
    await assert.rejects(writeStreamAtomic(file, pieces(1000, 900)), /the source broke/);
    await assert.rejects(writeStreamAtomic(file, pieces(1000), AbortSignal.abort()), { name: 'AbortError' });
    assert.equal(await readFile(file, 'utf8'), 'old');
    assert.deepEqual(await readdir(folder), ['page.html']);
  }));
