import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeMirror, openApp } from '../mirror-fixture.test.ts';

test('a listing is the stored one when there is one, else made from the NAR', async () => {
  await using mirror = await makeMirror();
  await using app = await openApp(mirror.directory);
  const { hashPart } = await mirror.addPath('hello');
  const url = `/${hashPart}.ls`;
  const made = await app.inject(url);
  assert.equal(made.statusCode, 200);
  assert.equal(made.headers['content-type'], 'application/json');
  assert.deepEqual(made.json(), { version: 1, root: { type: 'regular', size: 5, narOffset: 96 } });
  assert.equal((await app.inject({ url, headers: { 'if-none-match': String(made.headers.etag) } })).statusCode, 304);
  await mirror.write(`${hashPart}.ls`, '{"stored":true}');
  assert.equal((await app.inject(url)).body, '{"stored":true}');
});

test('a listing is 404 when the NAR is damaged, and the log says so', async () => {
  await using mirror = await makeMirror();
  const log: string[] = [];
  await using app = await openApp(mirror.directory, { log });
  const { hashPart, info, file } = await mirror.addPath('hello');
  await mirror.write(info.url, Buffer.alloc(file.length, 7));
  assert.equal((await app.inject(`/${hashPart}.ls`)).statusCode, 404);
  assert.ok(log.some((line) => line.includes('listing could not be made')));
});
