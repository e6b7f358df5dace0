import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { formatPublicKey, generateSecretKey, publicKeyOf } from '../../nix/signature.ts';
import { makeMirror, openApp } from '../mirror-fixture.test.ts';

test('the front page shows key and configuration, as HTML for browsers and text for others', async () => {
  await using mirror = await makeMirror();
  await using app = await openApp(mirror.directory);
  assert.match((await app.inject('/')).body, /no key of its own/);
  const key = formatPublicKey(publicKeyOf(generateSecretKey('mirror-1')));
  await mkdir(join(mirror.directory, '.nixferry', 'keys'));
  await mirror.write('.nixferry/keys/public', `${key}\n`);
  const text = await app.inject({ url: '/', headers: { host: 'mirror.lan:8080' } });
  assert.match(String(text.headers['content-type']), /^text\/plain/);
  assert.ok(text.body.includes(key) && text.body.includes('substituters = http://mirror.lan:8080\n'));
  const html = await app.inject({ url: '/', headers: { host: 'mirror.lan', accept: 'text/html,*/*' } });
  assert.match(String(html.headers['content-type']), /^text\/html/);
  assert.match(html.body, /<code>http:\/\/mirror\.lan<\/code>/);
});

test('the front page repeats nothing of a Host that could be taken for more than a name', async () => {
  await using mirror = await makeMirror();
  await using app = await openApp(mirror.directory);
  for (const host of ['<script>x</script>', 'a"b', 'evil/path', 'a b', "x'$(id)"]) {
    const answer = await app.inject({ url: '/', headers: { host, accept: 'text/html' } });
    assert.equal(answer.statusCode, 200);
    assert.ok(!answer.body.includes(host), host);
  }
});
