import assert from 'node:assert/strict';
import { rename, rm, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { LIMITS } from '../../base/limits.ts';
import { makeMirror, openApp } from '../mirror-fixture.test.ts';

test('narinfo answers with the bytes on the disk when path and NAR are there', async () => {
  await using mirror = await makeMirror();
  await using app = await openApp(mirror.directory);
  const path = await mirror.addPath('hello');
  const answer = await app.inject(`/${path.hashPart}.narinfo`);
  assert.equal(answer.statusCode, 200);
  assert.equal(answer.body, path.text);
  assert.equal(answer.headers['content-type'], 'text/x-nix-narinfo');
  assert.equal(answer.headers['content-length'], String(path.text.length));
  assert.equal(answer.headers['cache-control'], 'public, max-age=5');
  const again = await app.inject({
    url: `/${path.hashPart}.narinfo`,
    headers: { 'if-none-match': String(answer.headers.etag) },
  });
  assert.equal(again.statusCode, 304);
  assert.equal(again.body, '');
});

test('a narinfo is 404 and said to be withheld when its NAR is gone or cut short', async () => {
  await using mirror = await makeMirror();
  const log: string[] = [];
  await using app = await openApp(mirror.directory, { log });
  const gone = await mirror.addPath('gone');
  const short = await mirror.addPath('short');
  await rm(join(mirror.directory, gone.info.url));
  await truncate(join(mirror.directory, short.info.url), 5);
  for (const { hashPart } of [gone, short]) {
    assert.equal((await app.inject(`/${hashPart}.narinfo`)).statusCode, 404);
    assert.equal((await app.inject(`/${hashPart}.ls`)).statusCode, 404);
  }
  assert.equal(log.filter((line) => line.includes('withheld')).length, 4);
});

test('a narinfo is 404 when it is unreadable or that of another path', async () => {
  await using mirror = await makeMirror();
  await using app = await openApp(mirror.directory);
  const { text } = await mirror.addPath('x');
  await mirror.write(`${'0'.repeat(32)}.narinfo`, 'StorePath: nonsense\n');
  await mirror.write(`${'1'.repeat(32)}.narinfo`, text);
  await mirror.write(`${'2'.repeat(32)}.narinfo`, '');
  await truncate(join(mirror.directory, `${'2'.repeat(32)}.narinfo`), LIMITS.storageReadBytes + 1);
  await mirror.write(`${'3'.repeat(32)}.narinfo`, text.padEnd(LIMITS.narInfoBytes + 1, '\n'));
  for (const digit of ['0', '1', '2', '3']) {
    assert.equal((await app.inject(`/${digit.repeat(32)}.narinfo`)).statusCode, 404, digit);
  }
});

test('what is published, replaced or removed is seen within a second when the server has cached it', async () => {
  await using mirror = await makeMirror();
  await using app = await openApp(mirror.directory);
  const { hashPart, text } = await mirror.addPath('hello');
  const url = `/${hashPart}.narinfo`;
  const until = async (description: string, holds: (answer: { statusCode: number; body: string }) => boolean) => {
    const deadlineMs = performance.now() + 1000;
    while (!holds(await app.inject(url))) assert.ok(performance.now() < deadlineMs, description);
  };
  await until('there', ({ statusCode }) => statusCode === 200);
  await mirror.write('.nixferry/new', `${text}Sig: other-1:${'A'.repeat(86)}==\n`);
  await rename(join(mirror.directory, '.nixferry/new'), join(mirror.directory, `${hashPart}.narinfo`));
  await until('replaced', ({ body }) => body.includes('other-1'));
  await rm(join(mirror.directory, `${hashPart}.narinfo`));
  await until('removed', ({ statusCode }) => statusCode === 404);
  await mirror.write(`${hashPart}.narinfo`, text);
  await until('there again', ({ statusCode }) => statusCode === 200);
});
