import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir, rm, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { type Mirror, openMirror } from '../src/mirror/mirror.ts';
import { composeNar } from '../src/mirror/nar-compose.ts';
import { intakeNar, withIntakenNar } from '../src/mirror/nar-intake.ts';
import { type PublishResult, publish } from '../src/mirror/publish.ts';
import { mirrorStatus } from '../src/mirror/status.ts';
import { verifyMirror } from '../src/mirror/verify.ts';
import { type FakePath, makeFakePath } from './support/fake-paths.ts';
import { assertNothingHalfVisible } from './support/mirror-checks.ts';
import { run } from './support/run.ts';
import { makeTempDir } from './support/temp-dir.ts';

/** A file system of its own, in memory. Needs root. */
async function withFileSystem(options: string, use: (folder: string) => Promise<void>): Promise<void> {
  await using temp = await makeTempDir('disk');
  await run('mount', ['-t', 'tmpfs', '-o', options, 'nixferry-test', temp.path]);
  try {
    await use(temp.path);
  } finally {
    await run('umount', [temp.path]);
  }
}

async function carry(mirror: Mirror, { info, file }: FakePath): Promise<PublishResult> {
  const open = async () => ({ offset: 0, stream: oneChunk(file) });
  const nar = await intakeNar({ mirror, expected: info, open });
  return publish(mirror, [{ info: withIntakenNar(info, nar), narFile: nar.file }]);
}

async function* oneChunk(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

test('a mirror on a full disk says no-space, stays whole, and goes on when there is room', () =>
  withFileSystem('size=4m', async (folder) => {
    const directory = `${folder}/mirror`;
    await using mirror = await openMirror(directory, { access: 'write', create: true });
    const small = await makeFakePath('small');
    await carry(mirror, small);
    const large = await makeFakePath('large', { contents: randomBytes(5_000_000), compression: 'none' });
    await assert.rejects(carry(mirror, large), { code: 'no-space', exitCode: 15 });
    await assert.rejects(composeNar({ mirror, nar: oneChunk(large.nar) }), { code: 'no-space' });
    assert.equal(await assertNothingHalfVisible(mirror), 1);

    // Not a byte is left: narinfos, temp files and the index all fail.
    for (const name of await readdir(mirror.layout.partialFolder)) await rm(`${mirror.layout.partialFolder}/${name}`);
    const fitting = await makeFakePath('fitting', { contents: randomBytes(5000) });
    const open = async () => ({ offset: 0, stream: oneChunk(fitting.file) });
    const nar = await intakeNar({ mirror, expected: fitting.info, open });
    const candidate = { info: withIntakenNar(fitting.info, nar), narFile: nar.file };
    await writeFile(`${folder}/filler`, Buffer.alloc(8_000_000)).catch(() => undefined);
    await assert.rejects(publish(mirror, [candidate]), { code: 'no-space' });
    assert.equal(await assertNothingHalfVisible(mirror), 1);

    await rm(`${folder}/filler`);
    assert.deepEqual((await publish(mirror, [candidate])).published, [fitting.info.storePath]);
    assert.equal(await assertNothingHalfVisible(mirror), 2);
    assert.equal((await mirror.index.totals()).paths, 2);
  }));

test('a mirror on a read-only file system is read, verified and described, with or without its index', () =>
  withFileSystem('size=8m', async (folder) => {
    const directory = `${folder}/mirror`;
    const path = await makeFakePath('hello');
    {
      await using mirror = await openMirror(directory, { access: 'write', create: true });
      await carry(mirror, path);
    }
    for (const spoil of [undefined, 'touch', 'remove']) {
      if (spoil === 'touch') await writeFile(`${directory}/note`, 'makes the index look old');
      if (spoil === 'remove') await rm(`${directory}/.nixferry/index.sqlite`);
      await run('mount', ['-o', 'remount,ro', folder]);
      {
        await using mirror = await openMirror(directory, { access: 'read' });
        assert.equal(await assertNothingHalfVisible(mirror), 1);
        assert.equal((await mirrorStatus(mirror)).totals.paths, 1);
        assert.equal((await verifyMirror({ mirror })).checked, 1);
      }
      await assert.rejects(openMirror(directory, { access: 'write' }));
      await run('mount', ['-o', 'remount,rw', folder]);
    }
  }));
