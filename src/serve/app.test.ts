import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeMirror, openApp } from './mirror-fixture.test.ts';

test('log, debuginfo, realisations and build traces answer with the stored file when there is one', async () => {
  await using mirror = await makeMirror();
  await using app = await openApp(mirror.directory);
  const { hashPart } = await mirror.addPath('x');
  const base = `${hashPart}-thing.drv`;
  const id = `sha256:${'0f'.repeat(32)}!out.doi`;
  for (const folder of ['build-trace-v2', 'build-trace-v13']) {
    await mkdir(join(mirror.directory, folder, base), { recursive: true });
    await mirror.write(`${folder}/${base}/out.doi`, '{"outPath":"x"}');
  }
  await mirror.write(`log/${base}`, 'it built\n');
  await mirror.write(`debuginfo/${'ab'.repeat(20)}.debug`, '{"archive":"../nar/x","member":"y"}');
  await mirror.write(`realisations/${id}`, '{}');
  const expected: [url: string, type: string, body: string][] = [
    [`/log/${base}`, 'text/plain; charset=utf-8', 'it built\n'],
    [`/debuginfo/${'ab'.repeat(20)}.debug`, 'application/json', '{"archive":"../nar/x","member":"y"}'],
    [`/realisations/${id}`, 'application/json', '{}'],
    [`/realisations/${encodeURIComponent(id)}`, 'application/json', '{}'],
    [`/build-trace-v2/${base}/out.doi`, 'application/json', '{"outPath":"x"}'],
    [`/build-trace-v13/${base}/out.doi`, 'application/json', '{"outPath":"x"}'],
  ];
  for (const [url, type, body] of expected) {
    const answer = await app.inject(url);
    assert.equal(answer.statusCode, 200, url);
    assert.equal(answer.headers['content-type'], type, url);
    assert.equal(answer.body, body, url);
  }
});

test('HEAD tells the same as GET, without the body, on every kind of address', async () => {
  await using mirror = await makeMirror();
  await using app = await openApp(mirror.directory);
  const { hashPart, info } = await mirror.addPath('hello');
  await mirror.write(`log/${hashPart}-thing.drv`, 'it built\n');
  const urls = [
    '/',
    '/healthz',
    '/readyz',
    '/nix-cache-info',
    `/${hashPart}.narinfo`,
    `/${info.url}`,
    `/${hashPart}.ls`,
  ];
  for (const url of [...urls, `/log/${hashPart}-thing.drv`, '/nar/none.nar', `/${'0'.repeat(32)}.narinfo`, '/x']) {
    const get = await app.inject(url);
    const head = await app.inject({ method: 'HEAD', url });
    assert.equal(head.statusCode, get.statusCode, url);
    assert.equal(head.body, '', url);
    assert.equal(get.headers['content-length'], String(get.rawPayload.length), url);
    delete get.headers.date;
    delete head.headers.date;
    assert.deepEqual(head.headers, get.headers, url);
  }
});

test('the answer is 404 at once when a well-formed name is unknown, and tells caches to keep nothing', async () => {
  await using mirror = await makeMirror();
  await using app = await openApp(mirror.directory);
  const hash = '0'.repeat(32);
  const urls = [
    `/${hash}.narinfo`,
    `/${hash}.ls`,
    '/nar/x.nar.xz',
    `/nar/${'1'.repeat(52)}.nar.xz`,
    `/log/${hash}-x.drv`,
  ];
  for (const url of [
    ...urls,
    `/debuginfo/${'ab'.repeat(20)}.debug`,
    `/realisations/sha256:0!out.doi`,
    '/nar',
    '/x/y',
  ]) {
    const answer = await app.inject(url);
    assert.equal(answer.statusCode, 404, url);
    assert.equal(answer.headers['cache-control'], 'no-cache', url);
    assert.equal(answer.headers.etag, undefined, url);
    assert.equal(answer.headers['accept-ranges'], undefined, url);
  }
});

test('the answer is 4xx when a name is malformed', async () => {
  await using mirror = await makeMirror();
  await using app = await openApp(mirror.directory);
  const urls = [
    '/short.narinfo',
    `/${'E'.repeat(32)}.narinfo`,
    `/${'e'.repeat(32)}.ls`,
    `/${'0'.repeat(5000)}.narinfo`,
    '/nar/..%2fnix-cache-info',
    '/nar/%2e%2e%2f.nixferry%2fkeys%2fsecret',
    '/nar/.hidden',
    '/nar/%00',
    '/log/x',
    '/log/..%2f..%2fetc%2fpasswd',
    '/debuginfo/xyz.debug',
    '/realisations/x',
    '/build-trace-v2/x/out.doi',
    '/build-trace-vx/x/y.doi',
    '/%',
    '/%ff.narinfo',
    '/nar/%zz',
    '/../etc/passwd',
    '/.nixferry/mirror.json',
    '//nix-cache-info',
  ];
  for (const url of urls) {
    const { statusCode } = await app.inject(url);
    assert.ok(statusCode >= 400 && statusCode < 500, `${statusCode} ${url}`);
  }
});

test('private files are not served when they are asked for by any spelling', async () => {
  await using mirror = await makeMirror();
  await using app = await openApp(mirror.directory);
  await mirror.write('.nixferry/secret', 'secret');
  for (const url of [
    '/.nixferry/secret',
    '/%2enixferry/secret',
    '/nar/../.nixferry/secret',
    '/nar/..%2F.nixferry%2Fsecret',
    '/log/../.nixferry/secret',
  ]) {
    const answer = await app.inject(url);
    assert.ok(answer.statusCode >= 400 && answer.statusCode < 500, url);
    assert.doesNotMatch(answer.body, /^secret$/m);
  }
});

test('other methods get 405 with Allow, whatever the address', async () => {
  await using mirror = await makeMirror();
  await using app = await openApp(mirror.directory);
  for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE'] as const) {
    for (const url of ['/nix-cache-info', `/nar/${'1'.repeat(52)}.nar`, '/nowhere']) {
      const answer = await app.inject({ method, url, ...(method === 'TRACE' ? {} : { payload: 'body' }) });
      assert.equal(answer.statusCode, 405, `${method} ${url}`);
      assert.equal(answer.headers.allow, 'GET, HEAD');
    }
  }
});

test('the log has a line for what is not here, and none for a hit', async () => {
  await using mirror = await makeMirror();
  const log: string[] = [];
  await using app = await openApp(mirror.directory, { log });
  const { hashPart, info } = await mirror.addPath('hello');
  await app.inject(`/${hashPart}.narinfo`);
  await app.inject(`/${info.url}`);
  assert.deepEqual(log, []);
  await app.inject(`/${'0'.repeat(32)}.narinfo`);
  assert.match(log.join(''), /"path":"\/0{32}\.narinfo".*"msg":"not here"/);
});
