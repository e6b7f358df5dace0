import assert from 'node:assert/strict';
import { rm, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import {
  type ContentAddress,
  formatContentAddress,
  type HashAlgorithm,
  hashBytes,
  hashPartOf,
  makeFixedOutputPath,
  makeTextPath,
  type NarInfo,
  type StorePath,
  writeNar,
} from '../nix/index.ts';
import { findFlatFiles } from './flat-files.ts';
import { rebuildIndex } from './index-rebuild.ts';
import { type Mirror, openMirror } from './mirror.ts';
import { composeNar } from './nar-compose.ts';
import { withIntakenNar } from './nar-intake.ts';
import { type PublishCandidate, publish } from './publish.ts';

const ALGORITHMS: readonly HashAlgorithm[] = ['md5', 'sha1', 'sha256', 'sha512'];
const BYTES = Buffer.alloc(100_000, 'a source ');

async function* narOfFile(bytes: Buffer, executable: boolean): AsyncGenerator<Buffer> {
  yield* writeNar({ type: 'regular', executable, sizeBytes: bytes.length, contents: () => [bytes] });
}

async function compose(
  mirror: Mirror,
  name: string,
  address: Extract<ContentAddress, { hash: unknown }>,
  executable = false,
  bytes = BYTES,
): Promise<PublishCandidate> {
  const nar = await composeNar({ mirror, nar: narOfFile(bytes, executable) });
  const storePath: StorePath =
    address.method === 'text'
      ? makeTextPath(name, address.hash, [], '/nix/store')
      : makeFixedOutputPath(address.method, address.hash, name, '/nix/store');
  const { url, compression, narHash, narSizeBytes } = nar;
  const described = { storePath, url, compression, narHash, narSizeBytes, references: [], signatures: [] };
  const info: NarInfo = withIntakenNar({ ...described, contentAddress: formatContentAddress(address) }, nar);
  return { info, narFile: nar.file };
}

async function setUp() {
  const stack = new AsyncDisposableStack();
  const temp = stack.use(await makeTempDir('flat'));
  const mirror = stack.use(await openMirror(temp.join('mirror'), { access: 'write', create: true }));
  const find = (algorithm: HashAlgorithm, bytes = BYTES) =>
    findFlatFiles(mirror.layout.flatFilesFile, hashBytes(algorithm, bytes));
  return { mirror, find, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

test('publish notes a flat output by all its hashes, whichever was declared', async () => {
  await using set = await setUp();
  const candidate = await compose(set.mirror, 'file', { method: 'flat', hash: hashBytes('sha1', BYTES) });
  await publish(set.mirror, [candidate]);
  const { storePath, narHash } = candidate.info;
  for (const algorithm of ALGORITHMS) {
    assert.deepEqual(set.find(algorithm), [{ hashPart: hashPartOf(storePath), narHash, sizeBytes: BYTES.length }]);
  }
  assert.deepEqual(set.find('sha256', Buffer.from('another')), []);
});

test('publish notes nothing of what is no flat output: an executable, a text, a recursive file', async () => {
  await using set = await setUp();
  const sha256 = hashBytes('sha256', BYTES);
  const narHash = hashBytes('sha256', Buffer.concat(await Array.fromAsync(narOfFile(BYTES, false))));
  await publish(set.mirror, [
    await compose(set.mirror, 'text', { method: 'text', hash: sha256 }),
    await compose(set.mirror, 'recursive', { method: 'nar', hash: narHash }),
    await compose(set.mirror, 'lying', { method: 'flat', hash: sha256 }, true),
  ]);
  for (const algorithm of ALGORITHMS) assert.deepEqual(set.find(algorithm), []);
});

test('publish notes a path that was here before when it becomes known to be flat', async () => {
  await using set = await setUp();
  const candidate = await compose(set.mirror, 'file', { method: 'flat', hash: hashBytes('sha256', BYTES) });
  const { contentAddress, ...bare } = candidate.info;
  assert.ok(contentAddress !== undefined && candidate.narFile !== undefined);
  await publish(set.mirror, [{ info: bare, narFile: candidate.narFile }]);
  assert.deepEqual(set.find('md5'), []);
  await publish(set.mirror, [{ info: candidate.info }]);
  assert.equal(set.find('md5').length, 1);
});

for (const [what, spoil] of [
  ['is gone', (file: string) => rm(file)],
  ['is damaged', (file: string) => writeFile(file, 'no database at all')],
] as const) {
  test(`rebuildIndex gives the same answers again when the table of flat files ${what}`, async () => {
    await using temp = await makeTempDir('flat');
    const directory = temp.join('mirror');
    const { flatFilesFile } = await (async () => {
      await using mirror = await openMirror(directory, { access: 'write', create: true });
      const files = [BYTES, Buffer.from(''), Buffer.from('x')].map((bytes, index) =>
        compose(mirror, `file-${index}`, { method: 'flat', hash: hashBytes('sha512', bytes) }, false, bytes),
      );
      await publish(mirror, await Promise.all(files));
      return mirror.layout;
    })();
    const ask = () =>
      [BYTES, Buffer.from(''), Buffer.from('x')].map((bytes) =>
        findFlatFiles(flatFilesFile, hashBytes('sha256', bytes)),
      );
    const before = ask();
    assert.ok(before.every((found) => found.length === 1));
    await spoil(flatFilesFile);
    assert.deepEqual(ask(), [[], [], []]);
    await using mirror = await openMirror(directory, { access: 'write' });
    await rebuildIndex(mirror);
    assert.deepEqual(ask(), before);
  });
}
