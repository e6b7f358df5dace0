import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeMirror, openApp } from './mirror-fixture.test.ts';
import { formatSendfileValue } from './sendfile-header.ts';

test('formatSendfileValue gives an address to nginx and a path to others, encoded so that one header line holds it', () => {
  const [directory, name] = ['/srv/ä mirror#1', 'nar/a+b?c=d%e.nar.xz'];
  assert.equal(formatSendfileValue('X-Accel-Redirect', directory, name), '/nixferry-files/nar/a+b%3Fc=d%25e.nar.xz');
  const path = formatSendfileValue('X-Sendfile', directory, name);
  assert.equal(path, '/srv/%C3%A4%20mirror%231/nar/a+b%3Fc=d%25e.nar.xz');
  assert.equal(decodeURIComponent(path), join(directory, name));
});

test('files are named in the header, and not sent, when a web server in front sends them', async () => {
  await using mirror = await makeMirror();
  const { hashPart, info, text } = await mirror.addPath('hello');
  await mirror.write(`log/${hashPart}-x.drv`, 'it built\n');
  await using app = await openApp(mirror.directory, { sendfileHeader: 'X-Accel-Redirect' });
  for (const method of ['GET', 'HEAD'] as const) {
    const nar = await app.inject({ method, url: `/${info.url}`, headers: { range: 'bytes=5-', 'if-none-match': '*' } });
    assert.equal(nar.statusCode, 200);
    assert.equal(nar.headers['x-accel-redirect'], `/nixferry-files/${info.url}`);
    assert.equal(nar.headers['content-type'], 'application/x-nix-nar');
    assert.equal(nar.headers['cache-control'], 'public, max-age=31536000, immutable');
    assert.equal(nar.headers.etag, undefined, 'the one who sends the file has its own');
    assert.equal(nar.body, '');
  }
  const log = await app.inject(`/log/${hashPart}-x.drv`);
  assert.equal(log.headers['x-accel-redirect'], `/nixferry-files/log/${hashPart}-x.drv`);
  for (const url of ['/nar/none.nar', '/nar/..%2f.nixferry%2fsecret', '/.nixferry/mirror.json']) {
    const answer = await app.inject(url);
    assert.ok(answer.statusCode >= 400 && answer.statusCode < 500, url);
    assert.equal(answer.headers['x-accel-redirect'], undefined, url);
  }
  assert.equal((await app.inject(`/${hashPart}.narinfo`)).body, text, 'what is in memory is sent as ever');

  await using others = await openApp(mirror.directory, { sendfileHeader: 'X-Sendfile' });
  assert.equal((await others.inject(`/${info.url}`)).headers['x-sendfile'], join(mirror.directory, info.url));
});
