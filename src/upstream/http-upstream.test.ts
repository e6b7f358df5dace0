import assert from 'node:assert/strict';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { test } from 'node:test';
import zlib from 'node:zlib';
import { instantClock } from '../../test/support/instant-clock.ts';
import { makeTempDir, type TempDir } from '../../test/support/temp-dir.ts';
import { tinyPath, writeTinyCache } from '../../test/support/tiny-cache.ts';
import { startUnreliableServer, type UnreliableServerOptions } from '../../test/support/unreliable-server.ts';
import { createHttpClient, isBrokenTransfer } from '../base/http-client.ts';
import { formatNarInfo, type HashPart, hashPartOf } from '../nix/index.ts';
import { resolveNarUrl } from './http-upstream.ts';
import { openUnbrokenNar } from './unbroken-nar.ts';
import { openUpstream } from './upstream.ts';

const hello = tinyPath('hello', 300_000);
const helloPart = hashPartOf(hello.info.storePath);

async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(stream));
}

/** A server with one path, a client and the upstream, all gone at the end. */
async function setUp(
  options: UnreliableServerOptions = {},
  settings: { attempts?: number; stallTimeoutMs?: number } = {},
) {
  const stack = new AsyncDisposableStack();
  const directory: TempDir = stack.use(await makeTempDir('upstream'));
  await writeTinyCache(directory.path, [hello]);
  const server = stack.use(await startUnreliableServer({ directory: directory.path, ...options }));
  const http = stack.use(createHttpClient({ environment: {}, clock: instantClock(), ...settings }));
  const upstream = await openUpstream(server.url, { http });
  return { directory, server, http, upstream, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

test("openUpstream reads nix-cache-info, below the path of the address and without Nix's parameters", async () => {
  await using cache = await setUp();
  assert.deepEqual(cache.upstream.cacheInfo, { storeDir: '/nix/store', wantMassQuery: true, priority: 40 });
  await mkdir(cache.directory.join('deep'));
  await rename(cache.directory.join('nix-cache-info'), cache.directory.join('deep/nix-cache-info'));
  const deep = await openUpstream(`${cache.server.url}/deep?priority=10&trusted=1`, { http: cache.http });
  assert.equal(deep.url, `${cache.server.url}/deep`);
  assert.equal(cache.server.requests.at(-1)?.path, '/deep/nix-cache-info');
});

test('openUpstream refuses what is no cache, speaks of another store, or is no address, and shows no password', async () => {
  await using cache = await setUp({
    respond: (path) => (path === '/portal/nix-cache-info' ? { body: '<html>log in' } : undefined),
  });
  const { http, server } = cache;
  const secret = server.url.replace('//', '//me:s3cret@');
  for (const path of ['/nowhere', '/portal']) {
    await assert.rejects(openUpstream(secret + path, { http }), (error: Error & { code?: string; hint?: string }) => {
      assert.equal(error.code, 'upstream-unreachable');
      assert.match(error.message, /no binary cache/);
      assert.match(error.hint ?? '', /nix-cache-info/);
      return isPlain(error);
    });
  }
  await assert.rejects(openUpstream(secret, { http, storeDir: '/gnu/store' }), { code: 'store-dir-mismatch' });
  await assert.rejects(openUpstream('s3://bucket?secret=1', { http }), { code: 'usage' });
  await assert.rejects(openUpstream('nonsense', { http }), { code: 'usage' });
  await server.goDead();
  await assert.rejects(openUpstream(secret, { http }), isPlain);
});

test('narInfo gives what the cache says, and undefined for 404, 410 and 403', async () => {
  await using cache = await setUp();
  assert.deepEqual(await cache.upstream.narInfo(helloPart), hello.info);
  const other = hashPartOf(tinyPath('other').info.storePath);
  assert.equal(await cache.upstream.narInfo(other), undefined);
  for (const status of [410, 403]) {
    cache.server.behave();
    cache.server.misbehave({ path: /narinfo/, fault: { kind: 'status', status } });
    assert.equal(await cache.upstream.narInfo(helloPart), undefined);
  }
});

test('narInfo throws when the cache cannot say', async () => {
  await using cache = await setUp();
  for (const status of [401, 407, 418, 400, 500, 501]) {
    cache.server.behave();
    cache.server.misbehave({ path: /narinfo/, fault: { kind: 'status', status } });
    await assert.rejects(cache.upstream.narInfo(helloPart), { failure: 'status', status });
  }
});

test('narInfo refuses a narinfo of another path, a malformed one, and one without end', async () => {
  const other = tinyPath('other');
  const answers = [formatNarInfo(other.info), 'StorePath: nonsense\n', `# ${'x'.repeat(5 * 1024 * 1024)}\n`, ''];
  let answer = '';
  await using cache = await setUp({ respond: (path) => (path.endsWith('.narinfo') ? { body: answer } : undefined) });
  for (answer of answers) await assert.rejects(cache.upstream.narInfo(helloPart), { name: 'NixferryError' });
  answer = answers[0] ?? '';
  await assert.rejects(cache.upstream.narInfo(helloPart), { code: 'upstream-incomplete', message: /another path/ });
});

test('narInfo asks for nothing when given what is no hash part', async () => {
  await using cache = await setUp();
  const before = cache.server.requests.length;
  for (const text of ['', '../../etc/passwd', helloPart.toUpperCase(), `${helloPart}x`]) {
    await assert.rejects(cache.upstream.narInfo(text as HashPart), TypeError);
  }
  assert.equal(cache.server.requests.length, before);
});

test('nar gives the file, from an offset on when asked', async () => {
  await using cache = await setUp();
  const whole = await cache.upstream.nar(hello.info);
  assert.equal(whole.offset, 0);
  assert.ok((await collect(whole.stream)).equals(hello.bytes));
  const part = await cache.upstream.nar(hello.info, { offset: 123_456 });
  assert.equal(part.offset, 123_456);
  assert.ok((await collect(part.stream)).equals(hello.bytes.subarray(123_456)));
});

test('nar begins at 0 when the server ignores ranges, and when it begins elsewhere than asked', async () => {
  await using ignoring = await setUp({ ignoreRange: true });
  const whole = await ignoring.upstream.nar(hello.info, { offset: 10 });
  assert.equal(whole.offset, 0);
  assert.ok((await collect(whole.stream)).equals(hello.bytes));

  await using lying = await setUp();
  const { http } = lying;
  const server = await startLyingRangeServer('bytes 5-9/1000');
  await using _ = server;
  const upstream = await openUpstream(server.url, { http });
  const transfer = await upstream.nar(hello.info, { offset: 10 });
  assert.equal(transfer.offset, 0);
  assert.equal((await collect(transfer.stream)).toString(), 'all of it');
});

test('nar gives an empty stream for an offset at the end, and begins anew for one beyond it', async () => {
  await using cache = await setUp();
  const end = await cache.upstream.nar(hello.info, { offset: hello.bytes.length });
  assert.equal(end.offset, hello.bytes.length);
  assert.equal((await collect(end.stream)).length, 0);
  const beyond = await cache.upstream.nar(hello.info, { offset: hello.bytes.length + 5 });
  assert.equal(beyond.offset, 0);
  assert.equal((await collect(beyond.stream)).length, hello.bytes.length);
});

test('nar throws a recognisable error when the transfer breaks, stalls or ends early', async () => {
  await using cache = await setUp({}, { stallTimeoutMs: 100 });
  for (const fault of [
    { kind: 'break', afterBytes: 1000 },
    { kind: 'stall', afterBytes: 1000 },
    { kind: 'lie', byBytes: 7 },
  ] as const) {
    cache.server.behave();
    cache.server.misbehave({ path: /nar$/, fault });
    const { stream } = await cache.upstream.nar(hello.info);
    await assert.rejects(collect(stream), isBrokenTransfer, fault.kind);
  }
});

test('nar says so when the narinfo is there and the file is not', async () => {
  await using cache = await setUp();
  await assert.rejects(cache.upstream.nar({ ...hello.info, url: 'nar/gone.nar' }), { failure: 'status', status: 404 });
});

test('nar undoes a Content-Encoding, and then does not begin in the middle', async () => {
  const body = zlib.gzipSync(hello.bytes);
  await using cache = await setUp({
    respond: (path) => (path.endsWith('.nar') ? { body, headers: { 'content-encoding': 'gzip' } } : undefined),
  });
  for (const offset of [0, 5]) {
    const transfer = await cache.upstream.nar(hello.info, { offset });
    assert.equal(transfer.offset, 0);
    assert.ok((await collect(transfer.stream)).equals(hello.bytes));
  }
  const small = await cache.upstream.nar({ ...hello.info, fileSizeBytes: 100 });
  await assert.rejects(collect(small.stream), { code: 'damage' });
});

test('openUnbrokenNar goes on where a transfer broke or stalled, as often as bytes come', async () => {
  await using cache = await setUp({}, { stallTimeoutMs: 100, attempts: 3 });
  cache.server.misbehave({ path: /nar$/, times: 3, fault: { kind: 'break', afterBytes: 70_000 } });
  cache.server.misbehave({ path: /nar$/, times: 1, fault: { kind: 'stall', afterBytes: 5 } });
  const { stream, offset } = await openUnbrokenNar(cache.upstream, hello.info, { http: cache.http, offset: 7 });
  assert.equal(offset, 7);
  assert.ok((await collect(stream)).equals(hello.bytes.subarray(7)));
  const ranges = cache.server.requests.filter(({ path }) => path.endsWith('.nar')).map(({ headers }) => headers.range);
  assert.equal(ranges.length, 5);
  assert.equal(ranges[0], 'bytes=7-');
});

test('openUnbrokenNar reads again and drops what it has when the server ignores ranges', async () => {
  await using cache = await setUp({ ignoreRange: true });
  cache.server.misbehave({ path: /nar$/, times: 2, fault: { kind: 'break', afterBytes: 100_000 } });
  const { stream } = await openUnbrokenNar(cache.upstream, hello.info, { http: cache.http });
  assert.ok((await collect(stream)).equals(hello.bytes));
});

test('openUnbrokenNar notices an early end that nothing announced', async () => {
  await using cache = await setUp();
  cache.server.misbehave({ path: /nar$/, times: 1, fault: { kind: 'truncate', afterBytes: 100_000 } });
  const { stream } = await openUnbrokenNar(cache.upstream, hello.info, { http: cache.http });
  assert.ok((await collect(stream)).equals(hello.bytes));
});

test('openUnbrokenNar gives up when nothing comes any more, and when the file has changed', async () => {
  await using cache = await setUp({}, { attempts: 3 });
  cache.server.misbehave({ path: /nar$/, fault: { kind: 'break', afterBytes: 10 } });
  const poor = await openUnbrokenNar(cache.upstream, hello.info, { http: cache.http });
  await assert.rejects(collect(poor.stream), isBrokenTransfer);
  assert.equal(cache.server.count(/nar$/), 3);

  cache.server.behave();
  cache.server.misbehave({ path: /nar$/, times: 1, fault: { kind: 'break', afterBytes: 100_000 } });
  const changing = await openUnbrokenNar(cache.upstream, hello.info, { http: cache.http });
  await writeFile(cache.directory.join('nar/hello.nar'), Buffer.alloc(300_001));
  await assert.rejects(collect(changing.stream), { failure: 'changed' });
});

test('file gives what is there, decoded, and undefined for what is not', async () => {
  const log = 'building\n'.repeat(100);
  const asked: string[] = [];
  await using cache = await setUp({
    respond: (path) => {
      asked.push(path);
      return path.startsWith('/log/')
        ? { body: zlib.brotliCompressSync(log), headers: { 'content-encoding': 'br' } }
        : undefined;
    },
  });
  const MAX = { maxBytes: 10_000 };
  assert.equal((await cache.upstream.file('log/x.drv', MAX))?.toString(), log);
  assert.equal(await cache.upstream.file('realisations/sha256:ab!out.doi', MAX), undefined);
  assert.equal(asked.at(-1), '/realisations/sha256:ab!out.doi');
  assert.equal(await cache.upstream.file('sha256:100%?#', MAX), undefined);
  assert.equal(asked.at(-1), '/sha256:100%25%3F%23');
  await assert.rejects(cache.upstream.file('log/x.drv', { maxBytes: 100 }), { name: 'NixferryError' });
  for (const name of ['../x', '/x', 'a//b', 'a/./b', '', 'a\\b', 'a\nb']) {
    await assert.rejects(async () => cache.upstream.file(name, MAX), TypeError, name);
  }
});

test("resolveNarUrl counts from the cache's own address, keeps queries, and stays with HTTP", () => {
  const root = new URL('https://me:pw@cache.example.org/deep/');
  const resolve = (url: string) => resolveNarUrl(root, url).href;
  assert.equal(resolve('nar/x.nar.xz?hash=abc'), 'https://me:pw@cache.example.org/deep/nar/x.nar.xz?hash=abc');
  assert.equal(resolve('../up/x'), 'https://me:pw@cache.example.org/up/x');
  assert.equal(resolve('https://cache.example.org/x'), 'https://me:pw@cache.example.org/x');
  assert.equal(resolve('https://elsewhere.example.org/x?y=z'), 'https://elsewhere.example.org/x?y=z');
  assert.equal(resolve('//elsewhere.example.org/x'), 'https://elsewhere.example.org/x');
  for (const url of ['file:///etc/passwd', 'ftp://x/y', 'data:,x', 'http://']) {
    assert.throws(() => resolve(url), { code: 'upstream-incomplete' }, url);
  }
});

test('narInfo is quick for thousands of paths', async () => {
  const path = tinyPath('many');
  const text = formatNarInfo(path.info);
  await using cache = await setUp({
    respond: (url) => {
      const part = /^\/([a-z0-9]{32})\.narinfo$/.exec(url)?.[1];
      return part === undefined ? undefined : { body: text.replace(/\/nix\/store\/.{32}/, `/nix/store/${part}`) };
    },
  });
  const parts = Array.from({ length: 2000 }, (_, index) => String(index).padStart(32, '0') as HashPart);
  const beganMs = performance.now();
  let next = 0;
  const workers = Array.from({ length: 256 }, async () => {
    for (let part = parts[next++]; part !== undefined; part = parts[next++]) {
      assert.ok((await cache.upstream.narInfo(part)) !== undefined);
    }
  });
  await Promise.all(workers);
  // Half a second with the server in the same process; the bound is for machines under load.
  assert.ok(performance.now() - beganMs < 8000);
});

function isPlain(error: Error & { hint?: string }): boolean {
  return !`${error.message}${error.hint}`.includes('s3cret');
}

async function startLyingRangeServer(contentRange: string) {
  const lying = createServer((request, response) => {
    if (request.url === '/nix-cache-info') response.end('StoreDir: /nix/store\n');
    else if (request.headers.range !== undefined)
      response.writeHead(206, { 'content-range': contentRange }).end('wrong');
    else response.end('all of it');
  });
  await new Promise<void>((resolve) => lying.listen(0, '127.0.0.1', resolve));
  const address = lying.address();
  const port = typeof address === 'object' ? address?.port : 0;
  return {
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      lying.closeAllConnections();
      await new Promise((resolve) => lying.close(resolve));
    },
  };
}
