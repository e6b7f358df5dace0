import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { zstdDecompressSync } from 'node:zlib';
import { makeFakePath } from '../../test/support/fake-paths.ts';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import { hashBytes } from '../nix/hash.ts';
import { openMirror } from './mirror.ts';
import { composeNar } from './nar-compose.ts';
import { withIntakenNar } from './nar-intake.ts';
import { publish } from './publish.ts';

const path = await makeFakePath('local', { contents: randomBytes(300_000) });

async function* inChunks(bytes: Buffer, failAfter = Number.POSITIVE_INFINITY): AsyncGenerator<Buffer> {
  for (let start = 0; start < bytes.length; start += 10_000) {
    if (start >= failAfter) throw new Error('the disk is gone');
    yield bytes.subarray(start, start + 10_000);
  }
}

test('composeNar compresses and hashes in one pass, ready to publish', async () => {
  await using temp = await makeTempDir('compose');
  await using mirror = await openMirror(temp.join('mirror'), { access: 'write', create: true });
  let seenBytes = 0;
  const composed = await composeNar({
    mirror,
    nar: inChunks(path.nar),
    onBytes: (bytes) => {
      seenBytes += bytes;
    },
  });
  const file = await readFile(composed.file);
  assert.deepEqual(zstdDecompressSync(file), path.nar);
  assert.equal(composed.fileHash, hashBytes('sha256', file));
  assert.equal(composed.fileSizeBytes, file.length);
  assert.equal(composed.narHash, path.info.narHash);
  assert.equal(composed.narSizeBytes, path.nar.length);
  assert.equal(seenBytes, path.nar.length);
  const { published } = await publish(mirror, [{ info: withIntakenNar(path.info, composed), narFile: composed.file }]);
  assert.deepEqual(published, [path.info.storePath]);
  assert.ok((await mirror.storage.stat(composed.url)) !== undefined);
});

test('composeNar leaves nothing behind when the source fails or the work is stopped', async () => {
  await using temp = await makeTempDir('compose');
  await using mirror = await openMirror(temp.join('mirror'), { access: 'write', create: true });
  await assert.rejects(composeNar({ mirror, nar: inChunks(path.nar, 100_000) }), /disk is gone/);
  const signal = AbortSignal.abort(new Error('stop'));
  await assert.rejects(composeNar({ mirror, nar: inChunks(path.nar), signal }), /stop/);
  assert.deepEqual(await readdir(mirror.layout.tempFolder), []);
});
