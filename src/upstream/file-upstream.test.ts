import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import { tinyPath, writeTinyCache } from '../../test/support/tiny-cache.ts';
import { createHttpClient } from '../base/http-client.ts';
import { hashPartOf } from '../nix/index.ts';
import { openUpstream } from './upstream.ts';

const http = createHttpClient({ environment: {} });
const hello = tinyPath('hello', 600_000);
const helloPart = hashPartOf(hello.info.storePath);

async function setUp() {
  const directory = await makeTempDir('file upstream');
  await mkdir(directory.join('cache'));
  await writeTinyCache(directory.join('cache'), [hello]);
  const address = pathToFileURL(directory.join('cache')).href;
  const upstream = await openUpstream(address, { http });
  const inCache = (name: string): string => directory.join('cache', name);
  return { directory, address, upstream, inCache, [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose]() };
}

async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(stream));
}

test('a folder is read like a cache on the web', async () => {
  await using cache = await setUp();
  const { upstream } = cache;
  assert.equal(upstream.cacheInfo.storeDir, '/nix/store');
  assert.deepEqual(await upstream.narInfo(helloPart), hello.info);
  assert.equal(await upstream.narInfo(hashPartOf(tinyPath('other').info.storePath)), undefined);
  const whole = await upstream.nar(hello.info);
  assert.deepEqual([whole.offset, whole.totalBytes], [0, 600_000]);
  assert.ok((await collect(whole.stream)).equals(hello.bytes));
  const part = await upstream.nar(hello.info, { offset: 599_999 });
  assert.equal((await collect(part.stream)).length, 1);
  const end = await upstream.nar(hello.info, { offset: 600_000 });
  assert.deepEqual([end.offset, (await collect(end.stream)).length], [600_000, 0]);
  const beyond = await upstream.nar(hello.info, { offset: 600_001 });
  assert.equal(beyond.offset, 0);
  assert.equal((await upstream.file('nix-cache-info', { maxBytes: 1000 }))?.toString('latin1', 0, 9), 'StoreDir:');
  await openUpstream(`${cache.address}?trusted=1`, { http });
});

test('a NAR whose URL leads out of the folder is refused', async () => {
  await using cache = await setUp();
  await writeFile(cache.directory.join('secret'), 'secret');
  await symlink(cache.directory.join('secret'), cache.inCache('nar/link'));
  await symlink(cache.directory.path, cache.inCache('up'));
  const urls = [
    '../secret',
    'nar/../../secret',
    '/etc/passwd',
    'nar/link',
    'up/secret',
    'nar//hello.nar',
    'nar/./hello.nar',
    'nar\\hello.nar',
  ];
  for (const url of urls) {
    await assert.rejects(
      cache.upstream.nar({ ...hello.info, url }),
      { code: 'upstream-incomplete', message: /leads out of its folder/ },
      url,
    );
  }
  for (const url of ['file:///etc/passwd', 'http://localhost/', '%2e%2e/secret']) {
    await assert.rejects(cache.upstream.nar({ ...hello.info, url }), { code: 'upstream-incomplete' }, url);
  }
});

test('links within the folder are followed', async () => {
  await using cache = await setUp();
  await symlink('hello.nar', cache.inCache('nar/link'));
  const { stream } = await cache.upstream.nar({ ...hello.info, url: 'nar/link' });
  assert.ok((await collect(stream)).equals(hello.bytes));
});

test('folders, pipes and files beyond the bound are refused, not waited for', async () => {
  await using cache = await setUp();
  execFileSync('mkfifo', [cache.inCache('nar/pipe')]);
  for (const url of ['nar', 'nar/pipe']) {
    await assert.rejects(cache.upstream.nar({ ...hello.info, url }), { code: 'upstream-incomplete' }, url);
  }
  await assert.rejects(cache.upstream.file('nar/hello.nar', { maxBytes: 100 }), /larger than 100 bytes/);
});

test('a medium that is unplugged is an error, not a cache without the path', async () => {
  await using cache = await setUp();
  await rm(cache.directory.join('cache'), { recursive: true });
  await mkdir(cache.directory.join('cache'));
  await assert.rejects(cache.upstream.narInfo(helloPart), { code: 'upstream-unreachable' });
});

test('openUpstream says what is wrong with the address of a folder', async () => {
  await using cache = await setUp();
  const empty = cache.directory.join('empty');
  await mkdir(empty);
  const addresses = [
    pathToFileURL(empty).href,
    pathToFileURL(cache.directory.join('missing')).href,
    pathToFileURL(cache.inCache('nix-cache-info')).href,
    'file://host/folder',
  ];
  for (const address of addresses) {
    await assert.rejects(openUpstream(address, { http }), { code: 'upstream-unreachable' }, address);
  }
});

test('a file that cannot be read is an error of that path', async () => {
  await using cache = await setUp();
  const name = `${helloPart}.narinfo`;
  await rm(cache.inCache(name));
  await symlink(name, cache.inCache(name));
  await assert.rejects(cache.upstream.narInfo(helloPart), { code: 'upstream-incomplete', message: /ELOOP/ });
});

test('nar rejects with the reason of the signal', async () => {
  await using cache = await setUp();
  const controller = new AbortController();
  const { stream } = await cache.upstream.nar(hello.info, { signal: controller.signal });
  const reason = new Error('enough');
  await assert.rejects(async () => {
    for await (const _ of stream) controller.abort(reason);
  }, reason);
});
