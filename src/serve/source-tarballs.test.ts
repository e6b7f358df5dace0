import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdir, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { zstdCompressSync } from 'node:zlib';
import pino from 'pino';
import { hashFromDigest, type NarInfo, type NarNode, parseStorePath, writeNar } from '../nix/index.ts';
import { limitLog } from './limited-log.ts';
import { type MirrorFixture, makeMirror } from './mirror-fixture.test.ts';
import { openServedFiles } from './served-files.ts';
import { SourceTarballs } from './source-tarballs.ts';

test('SourceTarballs keeps what was asked for last when there is more than it may keep', async () => {
  await using mirror = await makeMirror();
  const folder = join(mirror.directory, '.nixferry/tarballs');
  const files = await openServedFiles(mirror.directory);
  const tarballs = new SourceTarballs({ folder, files, log: limitLog(pino({ level: 'silent' })), keptBytes: 350 });
  const get = async (lastModified: number) => {
    const packed = await tarballs.get({ info, lastModified, folder: undefined });
    assert.ok(packed.kind === 'file');
    packed.file.close();
  };
  const info = await addTree(mirror);
  await get(1);
  const [first = ''] = await readdir(folder);
  await get(2);
  const [, second = ''] = (await readdir(folder)).toSorted();
  await utimes(join(folder, second), 1000, 1000);
  await utimes(join(folder, first), 2000, 2000);
  await get(1);
  await get(3);
  const kept = await readdir(folder);
  assert.ok(kept.includes(first) && !kept.includes(second), kept.join());
});

test('SourceTarballs is busy when more are wanted than may wait', async () => {
  await using mirror = await makeMirror();
  const files = await openServedFiles(mirror.directory);
  const log = limitLog(pino({ level: 'silent' }));
  const tarballs = new SourceTarballs({ folder: join(mirror.directory, '.nixferry/tarballs'), files, log });
  const info = await addTree(mirror);
  const wanted = Array.from({ length: 80 }, (_, lastModified) =>
    tarballs.get({ info, lastModified, folder: undefined }),
  );
  const kinds = (await Promise.all(wanted)).map((packed) => {
    if (packed.kind === 'file') packed.file.close();
    return packed.kind;
  });
  assert.ok(kinds.includes('busy'));
  assert.equal(kinds[0], 'file');
});

/** A folder with one file in it. */
async function addTree(mirror: MirrorFixture): Promise<NarInfo> {
  const bytes = Buffer.from('text\n');
  const file: NarNode = { type: 'regular', executable: false, sizeBytes: bytes.length, contents: () => [bytes] };
  const tree: NarNode = { type: 'directory', entries: () => [[Buffer.from('file'), file]] };
  const nar = Buffer.concat(await Array.fromAsync(writeNar(tree)));
  await mirror.write('nar/tree.nar.zst', zstdCompressSync(nar));
  return {
    storePath: parseStorePath(`/nix/store/${'0'.repeat(32)}-source`, '/nix/store'),
    url: 'nar/tree.nar.zst',
    compression: 'zstd',
    narHash: hashFromDigest('sha256', createHash('sha256').update(nar).digest()),
    narSizeBytes: nar.length,
    references: [],
    signatures: [],
  };
}
