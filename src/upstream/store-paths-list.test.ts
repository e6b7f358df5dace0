import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import zlib from 'node:zlib';
import { instantClock } from '../../test/support/instant-clock.ts';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import { tinyPath } from '../../test/support/tiny-cache.ts';
import { startUnreliableServer } from '../../test/support/unreliable-server.ts';
import { createHttpClient } from '../base/http-client.ts';
import { readStorePathsList } from './store-paths-list.ts';

const http = createHttpClient({ environment: {}, clock: instantClock() });
const OPTIONS = { http, storeDir: '/nix/store' };
const paths = Array.from({ length: 2000 }, (_, index) => tinyPath(`path-${index}`, 10).info.storePath);
const text = `${paths.join('\n')}\n`;

async function* inPieces(bytes: Uint8Array, pieceBytes: number): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < bytes.length; start += pieceBytes) yield bytes.subarray(start, start + pieceBytes);
}

const read = (source: string | AsyncIterable<Uint8Array>, options = {}) =>
  Array.fromAsync(readStorePathsList(source, { ...OPTIONS, ...options }));

const readText = (content: string) => read(Readable.from([Buffer.from(content)]));

test('readStorePathsList reads plain and compressed lists, told apart by their first bytes', async () => {
  const bytes = Buffer.from(text);
  const forms = {
    plain: bytes,
    gzip: zlib.gzipSync(bytes),
    zstd: zlib.zstdCompressSync(bytes),
    xz: execFileSync('xz', ['-c'], { input: bytes }),
  };
  for (const [form, content] of Object.entries(forms)) {
    assert.deepEqual(await read(inPieces(content, 4096)), paths, form);
  }
  assert.deepEqual(await read(inPieces(forms.xz.subarray(), 1)), paths, 'byte by byte');
});

test('readStorePathsList ignores blank lines, blanks around a path, and a missing last line break', async () => {
  assert.deepEqual(await readText(`\n\n${paths[0]}\r\n   \n\t${paths[1]} \n\n${paths[2]}`), paths.slice(0, 3));
  assert.deepEqual(await readText(''), []);
});

test('readStorePathsList ignores lines that begin with a number sign, and counts them', async () => {
  const list = `# what the lab wants: ${paths[0]}\n${paths[1]}\n  #${paths[2]}\n#\n${paths[3]}`;
  assert.deepEqual(await readText(list), [paths[1], paths[3]]);
  await assert.rejects(readText(`# one\n\n${paths[0]} # not a comment\n`), /line 3: /);
});

test('readStorePathsList names the line that is no store path', async () => {
  for (const line of ['nonsense', '/nix/store/short-name', '/gnu/store/abc', `${paths[0]}/bin/x`, 'x'.repeat(5000)]) {
    await assert.rejects(readText(`${paths[0]}\n\n${line}\n${paths[1]}\n`), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'bad-root');
      assert.match(error.message, /line 3: /);
      return error.message.length < 500;
    });
  }
});

test('readStorePathsList refuses a line without end before it has read it all', async () => {
  let pieces = 0;
  async function* endless(): AsyncGenerator<Uint8Array> {
    for (; pieces < 10_000; pieces++) yield Buffer.alloc(1000, 'x');
  }
  await assert.rejects(read(endless()), /line 1: too long/);
  assert.ok(pieces < 100);
});

test('readStorePathsList reads files, by name or address, and standard input', async () => {
  await using directory = await makeTempDir('list');
  const file = directory.join('store paths.gz');
  await writeFile(file, zlib.gzipSync(text));
  assert.deepEqual(await read(file), paths);
  assert.deepEqual(await read(pathToFileURL(file).href), paths);
  assert.deepEqual(await read('-', { stdin: Readable.from([Buffer.from(text)]) }), paths);
  await assert.rejects(read(directory.join('missing')), { code: 'bad-root', message: /missing.*ENOENT/ });
  await assert.rejects(read('file://host/x'), { code: 'bad-root' });
});

test('readStorePathsList reads a channel at the base given, and goes on where the transfer broke', async () => {
  const bytes = execFileSync('xz', ['-c'], { input: text });
  await using server = await startUnreliableServer({
    respond: (path) => (path === '/base/nixos-26.05/store-paths.xz' ? { body: bytes } : undefined),
  });
  server.misbehave({ path: /xz$/, times: 2, fault: { kind: 'break', afterBytes: 3000 } });
  assert.deepEqual(await read('channel:nixos-26.05', { channelsBase: `${server.url}/base/` }), paths);
  assert.deepEqual(
    server.requests.map(({ headers }) => headers.range),
    [undefined, 'bytes=3000-', 'bytes=6000-'],
  );
  await assert.rejects(read('channel:nothing', { channelsBase: server.url }), { failure: 'status', status: 404 });
});

test('readStorePathsList refuses names of channels that could lead elsewhere', async () => {
  for (const name of ['', '..', '../x', 'a/b', '-x', 'a?b', 'a b']) {
    await assert.rejects(read(`channel:${name}`), { code: 'bad-root', message: /channel/ }, name);
  }
});

test('readStorePathsList reports broken compression, and stops when told to', async () => {
  const broken = Buffer.from(zlib.zstdCompressSync(text));
  broken.fill(0, 20, 60);
  await assert.rejects(read(Readable.from([broken])), { code: 'damage' });
  const controller = new AbortController();
  const reason = new Error('enough');
  await assert.rejects(async () => {
    for await (const _ of readStorePathsList(inPieces(Buffer.from(text), 100), {
      ...OPTIONS,
      signal: controller.signal,
    })) {
      controller.abort(reason);
    }
  }, reason);
});

test('readStorePathsList closes its source when the reader leaves early', async () => {
  let isClosed = false;
  async function* source(): AsyncGenerator<Uint8Array> {
    try {
      for (;;) yield Buffer.from(text);
    } finally {
      isClosed = true;
    }
  }
  for await (const path of readStorePathsList(source(), OPTIONS)) {
    assert.equal(path, paths[0]);
    break;
  }
  assert.ok(isClosed);
});
