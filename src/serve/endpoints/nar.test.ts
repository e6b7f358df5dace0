import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeMirror, openApp } from '../mirror-fixture.test.ts';

test('nar answers with the file, whole or in part, when it is there', async () => {
  await using mirror = await makeMirror();
  await using app = await openApp(mirror.directory);
  const { info, file } = await mirror.addPath('hello');
  const url = `/${info.url}`;
  const whole = await app.inject(url);
  assert.equal(whole.statusCode, 200);
  assert.deepEqual(whole.rawPayload, file);
  assert.equal(whole.headers['content-type'], 'application/x-nix-nar');
  assert.equal(whole.headers['accept-ranges'], 'bytes');
  assert.equal(whole.headers['cache-control'], 'public, max-age=31536000, immutable');
  assert.equal(whole.headers['content-encoding'], undefined);
  const range = async (value: string, headers = {}) => app.inject({ url, headers: { range: value, ...headers } });

  const rest = await range('bytes=5-');
  assert.equal(rest.statusCode, 206);
  assert.equal(rest.headers['content-range'], `bytes 5-${file.length - 1}/${file.length}`);
  assert.equal(rest.headers['content-length'], String(file.length - 5));
  assert.deepEqual(rest.rawPayload, file.subarray(5));
  assert.deepEqual((await range('bytes=-3')).rawPayload, file.subarray(-3));
  assert.deepEqual((await range('bytes=2-4')).rawPayload, file.subarray(2, 5));

  const beyond = await range(`bytes=${file.length}-`);
  assert.equal(beyond.statusCode, 416);
  assert.equal(beyond.headers['content-range'], `bytes */${file.length}`);
  assert.equal((await range('bytes=0-1,3-4')).statusCode, 200);

  const etag = String(whole.headers.etag);
  assert.equal((await range('bytes=5-', { 'if-range': etag })).statusCode, 206);
  assert.equal((await range('bytes=5-', { 'if-range': '"other"' })).statusCode, 200);
  assert.equal((await range('bytes=5-', { 'if-none-match': etag })).statusCode, 304);
  assert.equal(
    (await app.inject({ url, headers: { 'accept-encoding': 'gzip, br, zstd' } })).headers['content-encoding'],
    undefined,
  );
});

test('nar is not called immutable when its name is not the hash of its contents', async () => {
  await using mirror = await makeMirror();
  await using app = await openApp(mirror.directory);
  await mirror.write('nar/by-hand.nar', 'bytes');
  const answer = await app.inject('/nar/by-hand.nar');
  assert.equal(answer.headers['cache-control'], 'public, max-age=5');
  await mirror.write('nar/by-hand.nar', 'other bytes');
  assert.notEqual((await app.inject('/nar/by-hand.nar')).headers.etag, answer.headers.etag);
});
