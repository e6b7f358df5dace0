import assert from 'node:assert/strict';
import { hash as hashOnce } from 'node:crypto';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { get, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { zstdCompressSync } from 'node:zlib';
import { makeTempDir } from '../../../test/support/temp-dir.ts';
import { rebuildIndex } from '../../mirror/index-rebuild.ts';
import { type Mirror, openMirror } from '../../mirror/mirror.ts';
import { composeNar } from '../../mirror/nar-compose.ts';
import { withIntakenNar } from '../../mirror/nar-intake.ts';
import { type PublishCandidate, publish } from '../../mirror/publish.ts';
import {
  type ContentAddress,
  formatContentAddress,
  formatDerivation,
  formatHash,
  type Hash,
  hashBytes,
  hashPartOf,
  makeFixedOutputPath,
  makeSourcePath,
  makeTextPath,
  type NarInfo,
  writeNar,
} from '../../nix/index.ts';
import { openApp } from '../mirror-fixture.test.ts';

/** Nothing that shrinks when it is packed, and the same each time. */
const BYTES = Buffer.concat(Array.from({ length: 31_250 }, (_, index) => hashOnce('sha256', String(index), 'buffer')));

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** A mirror with one flat output and the same file as recursive one, served on loopback: `inject` makes addresses of its own of `//`. */
async function serveSources() {
  const stack = new AsyncDisposableStack();
  const temp = stack.use(await makeTempDir('hashed'));
  const directory = temp.join('mirror');
  const narHashes = await fill(directory);
  const app = stack.use(await openApp(directory));
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as AddressInfo;
  const ask = (path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const request = get({ host: '127.0.0.1', port, path, headers, method }, (response) => {
        const body = Array.fromAsync(response as AsyncIterable<Buffer>);
        resolve(body.then((chunks) => answerOf(response, Buffer.concat(chunks))));
      });
      request.on('error', reject);
    });
  return { directory, ask, ...narHashes, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

function answerOf({ statusCode = 0, headers }: IncomingMessage, body: Buffer): Answer {
  return { status: statusCode, headers, body };
}

async function fill(directory: string) {
  await using mirror = await openMirror(directory, { access: 'write', create: true });
  async function* nar(): AsyncGenerator<Buffer> {
    yield* writeNar({ type: 'regular', executable: false, sizeBytes: BYTES.length, contents: () => [BYTES] });
  }
  const flat = hashBytes('sha256', BYTES);
  const first = await composeNar({ mirror, nar: nar() });
  const { narHash } = first;
  const describe = (address: Parameters<typeof formatContentAddress>[0], storePath: NarInfo['storePath']): NarInfo => {
    const { url, compression, narSizeBytes } = first;
    const contentAddress = formatContentAddress(address);
    const described = {
      storePath,
      url,
      compression,
      narHash,
      narSizeBytes,
      references: [],
      signatures: [],
      contentAddress,
    };
    return withIntakenNar(described, first);
  };
  const flatInfo = describe({ method: 'flat', hash: flat }, makeFixedOutputPath('flat', flat, 'file', '/nix/store'));
  const recursive = describe({ method: 'nar', hash: narHash }, makeSourcePath('file', narHash, '/nix/store'));
  await publish(mirror, [{ info: flatInfo, narFile: first.file }]);
  await publish(mirror, [{ info: recursive }]);
  await publish(mirror, await bootstrapFile(mirror));
  return { narHash, flatInfo };
}

const BUSYBOX_URL = 'http://tarballs.nixos.org/stdenv/x86_64-unknown-linux-gnu/busybox';

/** An executable that Nix itself fetches, and the derivation that says from where. */
async function bootstrapFile(mirror: Mirror): Promise<PublishCandidate[]> {
  const describe = async (
    executable: boolean,
    bytes: Buffer,
    pathOf: (narHash: Hash) => readonly [NarInfo['storePath'], ContentAddress],
  ): Promise<PublishCandidate> => {
    const node = { type: 'regular', executable, sizeBytes: bytes.length, contents: () => [bytes] } as const;
    const nar = await composeNar({ mirror, nar: writeNar(node) });
    const { url, compression, narHash, narSizeBytes } = nar;
    const [storePath, address] = pathOf(narHash);
    const contentAddress = formatContentAddress(address);
    const described = {
      storePath,
      url,
      compression,
      narHash,
      narSizeBytes,
      references: [],
      signatures: [],
      contentAddress,
    };
    return { info: withIntakenNar(described, nar), narFile: nar.file };
  };
  const busybox = await describe(true, BYTES, (hash) => [
    makeSourcePath('busybox', hash, '/nix/store'),
    { method: 'nar', hash },
  ]);
  const { storePath, narHash } = busybox.info;
  const derivation = formatDerivation({
    outputs: new Map([
      ['out', { path: storePath, hashAlgorithm: 'r:sha256', hash: formatHash(narHash, 'base16', { prefix: false }) }],
    ]),
    inputDerivations: new Map(),
    inputSources: [],
    system: 'builtin',
    builder: 'builtin:fetchurl',
    args: [],
    env: new Map([
      ['url', BUSYBOX_URL],
      ['executable', '1'],
    ]),
    encoding: 'utf8',
  });
  const hash = hashBytes('sha256', derivation);
  const drv = await describe(false, derivation, () => [
    makeTextPath('busybox.drv', hash, [], '/nix/store'),
    { method: 'text', hash },
  ]);
  return [busybox, drv];
}

test('hashed gives the bootstrap files to whoever asks tarballs.nixos.org, also after the index was made anew', async () => {
  await using served = await serveSources();
  const { pathname } = new URL(BUSYBOX_URL);
  const host = 'tarballs.nixos.org';
  for (const rebuilt of [false, true]) {
    if (rebuilt) {
      await rm(`${served.directory}/.nixferry/flat-files.sqlite`);
      assert.equal((await served.ask(pathname, { host })).status, 404);
      await using mirror = await openMirror(served.directory, { access: 'write' });
      await rebuildIndex(mirror);
    }
    assert.ok((await served.ask(pathname, { host })).body.equals(BYTES));
    const part = await served.ask(pathname, { host, range: 'bytes=10-19' });
    assert.ok(part.body.equals(BYTES.subarray(10, 20)));
    assert.equal((await served.ask(pathname)).status, 404);
    assert.equal((await served.ask(`${pathname}2`, { host })).status, 404);
  }
});

test('hashed answers with the file in every spelling of every hash', async () => {
  await using served = await serveSources();
  for (const algorithm of ['md5', 'sha1', 'sha256', 'sha512'] as const) {
    const asked = hashBytes(algorithm, BYTES);
    const sri = formatHash(asked, 'sri');
    const digests = (['base16', 'nix32', 'base64'] as const).map((one) => formatHash(asked, one, { prefix: false }));
    for (const address of [
      ...digests.map((digest) => `${algorithm}/${digest}`),
      `/${sri}`,
      sri,
      `${algorithm}/${sri}`,
      encodeURIComponent(sri),
    ]) {
      const { status, headers, body } = await served.ask(`/hashed/${address}`);
      assert.equal(status, 200, address);
      assert.ok(body.equals(BYTES), address);
      assert.equal(headers['content-length'], String(BYTES.length));
      assert.equal(headers['content-type'], 'application/octet-stream');
    }
  }
});

test('hashed answers 404 for what is no flat output, is not here, or is no hash', async () => {
  await using served = await serveSources();
  const absent = hashBytes('sha256', 'absent');
  for (const address of [
    `sha256/${formatHash(served.narHash, 'base16', { prefix: false })}`,
    `/${formatHash(served.narHash, 'sri')}`,
    `sha256/${formatHash(absent, 'base16', { prefix: false })}`,
    'sha256/',
    '',
    'nonsense',
    '../nix-cache-info',
  ]) {
    const { status, body } = await served.ask(`/hashed/${address}`);
    assert.equal(status, 404, address);
    assert.ok(body.length < 100);
  }
});

test('hashed tells the length to HEAD, and sends the part that Range asks for', async () => {
  await using served = await serveSources();
  const path = `/hashed/sha256/${formatHash(hashBytes('sha256', BYTES), 'base16', { prefix: false })}`;
  const head = await served.ask(path, { range: 'bytes=5-' }, 'HEAD');
  assert.deepEqual([head.status, head.headers['content-length'], head.body.length], [200, String(BYTES.length), 0]);
  for (const [range, start, end] of [
    ['bytes=0-0', 0, 0],
    ['bytes=999990-', 999_990, 999_999],
    ['bytes=300000-700000', 300_000, 700_000],
    ['bytes=-5', 999_995, 999_999],
  ] as const) {
    const part = await served.ask(path, { range });
    assert.equal(part.status, 206, range);
    assert.equal(part.headers['content-range'], `bytes ${start}-${end}/${BYTES.length}`);
    assert.ok(part.body.equals(BYTES.subarray(start, end + 1)), range);
  }
  const beyond = await served.ask(path, { range: 'bytes=1000000-' });
  assert.deepEqual([beyond.status, beyond.headers['content-range']], [416, `bytes */${BYTES.length}`]);
  const etag = String(head.headers.etag);
  assert.equal((await served.ask(path, { 'if-none-match': etag })).status, 304);
  assert.equal((await served.ask(path, { range: 'bytes=5-', 'if-range': '"other"' })).status, 200);
});

test('hashed is at the root for whoever asks for tarballs.nixos.org, and for nobody else', async () => {
  await using served = await serveSources();
  const sri = formatHash(hashBytes('sha512', BYTES), 'sri');
  const base16 = formatHash(hashBytes('sha512', BYTES), 'base16', { prefix: false });
  for (const path of [`/sha512/${base16}`, `//${sri}`, `/sha512/${sri}`]) {
    for (const host of ['tarballs.nixos.org', 'tarballs.nixos.org:8080']) {
      assert.ok((await served.ask(path, { host })).body.equals(BYTES), path);
    }
    assert.equal((await served.ask(path, { host: 'nixferry.lan' })).status, 404);
  }
});

test('hashed answers 404 when the table speaks of another NAR than the narinfo', async () => {
  await using served = await serveSources();
  const file = `${served.directory}/${hashPartOf(served.flatInfo.storePath)}.narinfo`;
  const other = formatHash(hashBytes('sha256', 'another NAR'), 'nix32');
  await writeFile(file, (await readFile(file, 'utf8')).replace(/^NarHash: .*$/m, `NarHash: ${other}`));
  const { status } = await served.ask(`/hashed//${formatHash(hashBytes('sha1', BYTES), 'sri')}`);
  assert.equal(status, 404);
});

test('hashed answers 404 once the path is not visible any more, or its table is gone', async () => {
  await using served = await serveSources();
  const path = `/hashed//${formatHash(hashBytes('sha1', BYTES), 'sri')}`;
  assert.equal((await served.ask(path)).status, 200);
  const table = `${served.directory}/.nixferry/flat-files.sqlite`;
  await rm(`${served.directory}/${hashPartOf(served.flatInfo.storePath)}.narinfo`);
  while ((await served.ask(path)).status !== 404);
  await writeFile(table, 'no database');
  assert.equal((await served.ask(path)).status, 404);
  await rm(table);
  assert.equal((await served.ask(path)).status, 404);
});

test('hashed never ends a damaged file as if it were whole', async () => {
  await using served = await serveSources();
  const path = `/hashed//${formatHash(hashBytes('sha1', BYTES), 'sri')}`;
  const file = `${served.directory}/${served.flatInfo.url}`;
  const good = await readFile(file);
  for (const [what, bytes] of [
    ['cut short', good.subarray(0, 700_000)],
    ['rubbish', Buffer.alloc(good.length, 'rubbish')],
    ['rubbish from the middle on', Buffer.concat([good.subarray(0, 700_000), Buffer.alloc(good.length - 700_000)])],
    [
      'another NAR',
      Buffer.concat([zstdCompressSync('nix-archive-1'), Buffer.alloc(good.length)]).subarray(0, good.length),
    ],
  ] as const) {
    await writeFile(file, bytes);
    const outcome = await served.ask(path).then(
      ({ status }) => status,
      () => 'broken off',
    );
    assert.notEqual(outcome, 200, what);
  }
});
