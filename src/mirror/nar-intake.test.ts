import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { type FakePath, makeFakePath } from '../../test/support/fake-paths.ts';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import { LIMITS } from '../base/limits.ts';
import { hashBytes } from '../nix/hash.ts';
import type { MirrorPlace } from './keys.ts';
import { privateLayout } from './layout.ts';
import type { ExpectedNar } from './nar-hash.ts';
import { intakeNar, withIntakenNar } from './nar-intake.ts';
import type { OpenNar } from './nar-source.ts';

async function withPlace(
  use: (mirror: MirrorPlace, partials: () => Promise<string[]>) => Promise<void>,
): Promise<void> {
  await using temp = await makeTempDir('intake');
  const mirror = { directory: temp.path };
  const { partialFolder } = privateLayout(temp.path);
  await mkdir(partialFolder, { recursive: true });
  await use(mirror, () => readdir(partialFolder));
}

/** A server of one file that notes the offsets it was asked for, and may break off after a number of bytes each time. */
function serve(
  file: Buffer,
  options: { breakAfter?: readonly number[]; ranges?: boolean } = {},
): OpenNar & { asked: number[] } {
  const asked: number[] = [];
  const breaks = [...(options.breakAfter ?? [])];
  const open: OpenNar = async (wanted) => {
    asked.push(wanted);
    const offset = options.ranges === false ? 0 : wanted;
    const limit = breaks.shift();
    return { offset, stream: send(file.subarray(offset), limit) };
  };
  return Object.assign(open, { asked });
}

async function* send(bytes: Buffer, breakAfter: number | undefined): AsyncGenerator<Buffer> {
  const end = Math.min(breakAfter ?? bytes.length, bytes.length);
  for (let start = 0; start < end; start += 1000) yield bytes.subarray(start, Math.min(start + 1000, end));
  if (breakAfter !== undefined) throw new Error('connection reset');
}

async function* endless(): AsyncGenerator<Buffer> {
  for (;;) yield Buffer.alloc(64 * 1024);
}

const openEndless: OpenNar = async () => ({ offset: 0, stream: endless() });

const noSuchHost: OpenNar = () => Promise.reject(new Error('no such host'));

/** Too large to be taken in at once. */
async function makeLargePath(): Promise<FakePath> {
  const contents = Buffer.alloc(LIMITS.xzOneShotOutputBytes + 1);
  randomBytes(20_000).copy(contents, 1_000_000);
  return makeFakePath('large', { contents, compression: 'zstd' });
}

const small = await makeFakePath('small', { contents: randomBytes(9000) });
const large = await makeLargePath();

for (const [kind, path] of [
  ['a small file', small],
  ['a large file', large],
] as const) {
  const expected: ExpectedNar = path.info;

  test(`intakeNar keeps the bytes as they are and says where they will be when it takes ${kind} in`, () =>
    withPlace(async (mirror) => {
      let seenBytes = 0;
      const nar = await intakeNar({
        mirror,
        expected,
        open: serve(path.file),
        onBytes: (bytes) => {
          seenBytes += bytes;
        },
      });
      assert.deepEqual(await readFile(nar.file), path.file);
      assert.equal(nar.fileHash, path.info.fileHash);
      assert.equal(nar.fileSizeBytes, path.file.length);
      assert.equal(seenBytes, path.file.length);
      const { url } = withIntakenNar(path.info, nar);
      assert.equal(
        url,
        `nar/${String(path.info.fileHash).slice('sha256:'.length)}.nar${url.slice(url.lastIndexOf('.'))}`,
      );
    }));

  test(`intakeNar goes on where the transfer of ${kind} broke off when it is called again`, () =>
    withPlace(async (mirror) => {
      const open = serve(path.file, { breakAfter: [3500, 0, 2000] });
      for (let broken = 0; broken < 3; broken += 1) {
        await assert.rejects(intakeNar({ mirror, expected, open }), /connection reset/);
      }
      const nar = await intakeNar({ mirror, expected, open });
      assert.deepEqual(open.asked, [0, 3500, 3500, 5500]);
      assert.deepEqual(await readFile(nar.file), path.file);
    }));

  test(`intakeNar begins anew when the source of ${kind} cannot skip`, () =>
    withPlace(async (mirror) => {
      const open = serve(path.file, { breakAfter: [3500], ranges: false });
      await assert.rejects(intakeNar({ mirror, expected, open }), /connection reset/);
      const nar = await intakeNar({ mirror, expected, open });
      assert.deepEqual(await readFile(nar.file), path.file);
    }));

  test(`intakeNar goes on in another process when ${kind} was stopped half-way`, () =>
    withPlace(async (mirror, partials) => {
      const controller = new AbortController();
      async function* stopping(): AsyncGenerator<Buffer> {
        yield path.file.subarray(0, 5000);
        controller.abort(new Error('Ctrl-C'));
        yield path.file.subarray(5000, 6000);
      }
      const open = async () => ({ offset: 0, stream: stopping() });
      await assert.rejects(intakeNar({ mirror, expected, open, signal: controller.signal }), /Ctrl-C/);
      assert.equal((await partials()).length, 1);
      const second = serve(path.file);
      const nar = await intakeNar({ mirror, expected, open: second });
      assert.deepEqual(second.asked, [5000]);
      assert.deepEqual(await readFile(nar.file), path.file);
    }));

  test(`intakeNar asks for nothing when ${kind} is there already, and checks it all the same`, () =>
    withPlace(async (mirror) => {
      const { file } = await intakeNar({ mirror, expected, open: serve(path.file) });
      const open = serve(path.file);
      await intakeNar({ mirror, expected, open });
      assert.deepEqual(open.asked, []);
      await writeFile(file, Buffer.alloc(path.file.length));
      await intakeNar({ mirror, expected, open });
      assert.deepEqual(open.asked, [0]);
      assert.deepEqual(await readFile(file), path.file);
    }));

  test(`intakeNar begins anew, once, when what an earlier try left of ${kind} is wrong`, () =>
    withPlace(async (mirror) => {
      const { file } = await intakeNar({ mirror, expected, open: serve(path.file) });
      await writeFile(file, randomBytes(4000));
      const open = serve(path.file);
      await intakeNar({ mirror, expected, open });
      // A large one may be found wrong before the rest has been asked for.
      assert.deepEqual(open.asked.slice(-1), [0]);
      assert.ok(open.asked.length <= 2);
      assert.deepEqual(await readFile(file), path.file);
    }));

  test(`intakeNar names the hash and leaves nothing when a byte of ${kind} is another`, () =>
    withPlace(async (mirror, partials) => {
      const flipped = Buffer.from(path.file);
      flipped[4321] = (flipped[4321] ?? 0) ^ 1;
      const what = path.info.storePath;
      const damage = { code: 'damage', message: new RegExp(what) };
      await assert.rejects(intakeNar({ mirror, expected, open: serve(flipped), what }), damage);
      const { fileHash: _, ...withoutFileHash } = path.info;
      await assert.rejects(intakeNar({ mirror, expected: withoutFileHash, open: serve(flipped), what }), damage);
      assert.deepEqual(await partials(), []);
    }));

  test(`intakeNar says which of the narinfo’s claims about ${kind} is wrong`, () =>
    withPlace(async (mirror, partials) => {
      const wrong = hashBytes('sha256', 'something else');
      const claims: readonly (readonly [Partial<ExpectedNar>, RegExp])[] = [
        [{ fileHash: wrong }, /FileHash says sha256:/],
        [{ narHash: wrong }, /NarHash says sha256:/],
        [{ narSizeBytes: path.nar.length + 1 }, /NarSize says/],
        [{ narSizeBytes: path.nar.length - 1 }, /more than the/],
        [{ fileSizeBytes: path.file.length - 1 }, /more than the/],
      ];
      for (const [claim, message] of claims) {
        await assert.rejects(intakeNar({ mirror, expected: { ...expected, ...claim }, open: serve(path.file) }), {
          code: 'damage',
          message,
        });
      }
      assert.deepEqual(await partials(), []);
    }));

  test(`intakeNar calls it no damage when the source of ${kind} ends too soon and cannot be opened again`, () =>
    withPlace(async (mirror) => {
      const open = serve(path.file.subarray(0, 5000));
      await assert.rejects(intakeNar({ mirror, expected, open, reopens: false }), { code: 'upstream-incomplete' });
      assert.deepEqual(open.asked, [0]);
    }));

  test(`intakeNar opens a source of ${kind} from its beginning when it can be opened only once`, () =>
    withPlace(async (mirror) => {
      const { file } = await intakeNar({ mirror, expected, open: serve(path.file) });
      await truncate(file, 100);
      const open = serve(path.file);
      await intakeNar({ mirror, expected, open, reopens: false });
      assert.deepEqual(open.asked, [0]);
      assert.deepEqual(await readFile(file), path.file);
    }));
}

test('intakeNar takes a file in when its hash and size are not stated', () =>
  withPlace(async (mirror) => {
    const { narHash, narSizeBytes, compression } = small.info;
    const nar = await intakeNar({ mirror, expected: { narHash, narSizeBytes, compression }, open: serve(small.file) });
    assert.equal(nar.fileHash, small.info.fileHash);
  }));

test('intakeNar bounds a file of unknown size by what its NAR can need', () =>
  withPlace(async (mirror) => {
    const { narHash, narSizeBytes } = small.info;
    const expected = { narHash, narSizeBytes, compression: 'none' };
    await assert.rejects(intakeNar({ mirror, expected, open: openEndless }), {
      code: 'damage',
      message: /more than the/,
    });
  }));

test('intakeNar checks a FileHash of another algorithm', () =>
  withPlace(async (mirror) => {
    const expected = { ...small.info, fileHash: hashBytes('sha512', small.file) };
    const nar = await intakeNar({ mirror, expected, open: serve(small.file) });
    assert.equal(nar.fileHash, small.info.fileHash);
    const wrong = { ...small.info, fileHash: hashBytes('sha512', 'x') };
    await assert.rejects(intakeNar({ mirror, expected: wrong, open: serve(small.file) }), /FileHash says sha512:/);
  }));

test('intakeNar refuses a compression that cannot be read', () =>
  withPlace(async (mirror) => {
    const expected = { ...small.info, compression: 'lzip' };
    await assert.rejects(intakeNar({ mirror, expected, open: serve(small.file) }), {
      code: 'damage',
      message: /"lzip"/,
    });
  }));

test('intakeNar takes the same file in for two paths at the same time', () =>
  withPlace(async (mirror) => {
    const open = serve(small.file);
    const nars = await Promise.all([1, 2, 3].map(() => intakeNar({ mirror, expected: small.info, open })));
    assert.equal(new Set(nars.map(({ file }) => file)).size, 1);
    assert.deepEqual(open.asked, [0]);
  }));

test('intakeNar gives the room back when it fails, so that others go on', () =>
  withPlace(async (mirror) => {
    const expected = { ...small.info, fileSizeBytes: LIMITS.xzOneShotCompressedBytes };
    const failures = Array.from({ length: 40 }, () =>
      intakeNar({ mirror, expected, open: noSuchHost }).catch(() => 'failed'),
    );
    assert.deepEqual(new Set(await Promise.all(failures)), new Set(['failed']));
    await intakeNar({ mirror, expected: small.info, open: serve(small.file) });
  }));
