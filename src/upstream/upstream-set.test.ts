import assert from 'node:assert/strict';
import { rm, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { instantClock } from '../../test/support/instant-clock.ts';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import { tinyPath, writeTinyCache } from '../../test/support/tiny-cache.ts';
import { startUnreliableServer } from '../../test/support/unreliable-server.ts';
import { createHttpClient } from '../base/http-client.ts';
import type { ProgressEvent } from '../base/progress.ts';
import { hashPartOf } from '../nix/index.ts';
import { openUpstreams } from './upstream-set.ts';

const first = tinyPath('first');
const second = tinyPath('second');
const both = tinyPath('both');
const partOf = (path: typeof first) => hashPartOf(path.info.storePath);

const isSecond = (info: { url: string }): boolean => info.url.endsWith('two');

/** Two caches: one has `first` and `both`, the other `second` and `both`. */
async function setUp() {
  const stack = new AsyncDisposableStack();
  const directory = stack.use(await makeTempDir('upstreams'));
  const notices: string[] = [];
  const onProgress = (event: ProgressEvent): void => {
    if (event.type === 'notice') notices.push(event.message);
  };
  const http = stack.use(createHttpClient({ environment: {}, clock: instantClock() }));
  await writeTinyCache(directory.join('one'), [first, both]);
  await writeTinyCache(directory.join('two'), [second, { ...both, info: { ...both.info, url: 'nar/both.nar?two' } }]);
  const one = stack.use(await startUnreliableServer({ directory: directory.join('one') }));
  const two = stack.use(await startUnreliableServer({ directory: directory.join('two') }));
  const dispose = () => stack.disposeAsync();
  return { directory, one, two, http, notices, options: { http, onProgress }, [Symbol.asyncDispose]: dispose };
}

test('find asks in the order given, whatever the priorities', async () => {
  await using caches = await setUp();
  await writeFile(caches.directory.join('two/nix-cache-info'), 'StoreDir: /nix/store\nPriority: 1\n');
  await using set = await openUpstreams([caches.one.url, caches.two.url], caches.options);
  assert.equal(set.storeDir, '/nix/store');
  const found = await set.find(partOf(both));
  assert.deepEqual([found?.upstream.url, found?.info.url], [caches.one.url, 'nar/both.nar']);
  assert.equal((await set.find(partOf(second)))?.upstream.url, caches.two.url);
  assert.equal(await set.find(partOf(tinyPath('none'))), undefined);
  assert.deepEqual(caches.notices, []);
});

test('find goes on to the next upstream when a narinfo will not do', async () => {
  await using caches = await setUp();
  await using set = await openUpstreams([caches.one.url, caches.two.url], caches.options);
  assert.equal((await set.find(partOf(both), { accept: isSecond }))?.upstream.url, caches.two.url);
  assert.equal(await set.find(partOf(first), { accept: isSecond }), undefined);
});

test('find goes on to the next upstream when one talks nonsense, and says so a few times only', async () => {
  await using caches = await setUp();
  await using set = await openUpstreams([caches.one.url, caches.two.url], caches.options);
  await writeFile(caches.directory.join('one', `${partOf(both)}.narinfo`), 'nonsense\n');
  for (let count = 0; count < 20; count++) {
    assert.equal((await set.find(partOf(both)))?.upstream.url, caches.two.url);
  }
  assert.equal(caches.notices.length, 5);
  assert.match(caches.notices.at(-1) ?? '', /not shown/);
});

test('find throws when an upstream could not say and no other has the path', async () => {
  await using caches = await setUp();
  await using set = await openUpstreams([caches.one.url, caches.two.url], caches.options);
  caches.one.misbehave({ path: /narinfo/, fault: { kind: 'status', status: 500 } });
  await assert.rejects(set.find(partOf(first)), { failure: 'status', status: 500 });
  assert.equal((await set.find(partOf(second)))?.upstream.url, caches.two.url);
});

test('openUpstreams leaves out who does not answer, with a notice', async () => {
  await using caches = await setUp();
  await caches.one.goDead();
  await using set = await openUpstreams([caches.one.url, caches.two.url], caches.options);
  assert.deepEqual(
    set.upstreams.map(({ url }) => url),
    [caches.two.url],
  );
  assert.equal(caches.notices.length, 1);
  assert.match(caches.notices[0] ?? '', /left out: .*refuses connections/);
  assert.equal((await set.find(partOf(both)))?.upstream.url, caches.two.url);
  assert.equal(await set.find(partOf(first)), undefined);
});

test('an upstream that dies later is told of once, and hundreds of paths are found elsewhere at once', async () => {
  await using caches = await setUp();
  await using set = await openUpstreams([caches.one.url, caches.two.url], caches.options);
  await caches.one.goDead();
  const found = await Promise.all(Array.from({ length: 200 }, () => set.find(partOf(both))));
  assert.ok(found.every((result) => result?.upstream.url === caches.two.url));
  assert.equal(caches.notices.length, 1);
  assert.match(caches.notices[0] ?? '', /no longer answers/);
  // What only the dead one may have is unknown, not absent.
  await assert.rejects(set.find(partOf(first)), { failure: 'host-down' });
});

test('openUpstreams throws when nobody answers, for mixed stores, and for no upstream', async () => {
  await using caches = await setUp();
  await assert.rejects(openUpstreams([], caches.options), { code: 'usage' });
  await assert.rejects(openUpstreams(['gopher://x', caches.one.url], caches.options), { code: 'usage' });
  await writeFile(caches.directory.join('two/nix-cache-info'), 'StoreDir: /gnu/store\n');
  await assert.rejects(openUpstreams([caches.one.url, caches.two.url], caches.options), { code: 'store-dir-mismatch' });
  await assert.rejects(openUpstreams([caches.one.url], { ...caches.options, storeDir: '/gnu/store' }), {
    code: 'store-dir-mismatch',
  });
  await rm(caches.directory.join('one/nix-cache-info'));
  await caches.two.goDead();
  await assert.rejects(openUpstreams([caches.one.url, caches.two.url], caches.options), {
    code: 'upstream-unreachable',
    message: /no binary cache/,
  });
});

test('find rejects with the reason of the signal', async () => {
  await using caches = await setUp();
  await using set = await openUpstreams([caches.one.url, caches.two.url], caches.options);
  caches.one.misbehave({ path: /narinfo/, fault: { kind: 'stall' } });
  const controller = new AbortController();
  const finding = set.find(partOf(both), { signal: controller.signal });
  const reason = new Error('enough');
  setImmediate(() => controller.abort(reason));
  await assert.rejects(finding, reason);
  assert.deepEqual(caches.notices, []);
});
