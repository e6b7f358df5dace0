import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { rotateMirrorKey } from '../../mirror/key-rotation.ts';
import { generateMirrorKey } from '../../mirror/keys.ts';
import { parseServerStatus } from '../../mirror/server-status.ts';
import { formatPublicKey, publicKeyOf } from '../../nix/signature.ts';
import { frontPageHtml } from '../front-page-html.ts';
import { frontPageText } from '../front-page-text.ts';
import { type MirrorFixture, makeMirror, openApp } from '../mirror-fixture.test.ts';

/** Host fields that nothing may come of: text in three languages, and addresses that are none. */
const HOSTILE_HOSTS = [
  '<script>x</script>',
  'a"b',
  'evil/path',
  'a b',
  "x'$(id)",
  "END_OF_NIX_CONFIG'",
  'evil";builtins.exec',
  '${evil}',
  'evil#x',
  'user@evil',
  '999.999.999.999',
  'ferry:99999',
  '..',
  '-x',
  'a'.repeat(300),
];

async function addRoot(mirror: MirrorFixture, name: string, complete = true): Promise<void> {
  await mkdir(join(mirror.directory, '.nixferry/roots'), { recursive: true });
  const path = `${'0'.repeat(32)}-x`;
  const record = { format: 1, id: 'root-1', name, request: name, scope: 'run', rootPaths: [path], paths: [path] };
  await mirror.write('.nixferry/roots/root-1.json', JSON.stringify({ ...record, complete, origin: 'collected' }));
}

test('the front page shows keys, configuration and roots, as HTML for browsers and text for others', async () => {
  await using mirror = await makeMirror();
  await using app = await openApp(mirror.directory);
  assert.match((await app.inject('/')).body, /no key of its own/);
  const old = formatPublicKey(publicKeyOf(await generateMirrorKey(mirror, 'mirror-1')));
  const key = formatPublicKey(publicKeyOf(await rotateMirrorKey(mirror, 'mirror-2')));
  await addRoot(mirror, 'web01 & <friends>', false);
  await using second = await openApp(mirror.directory);
  const text = await second.inject({ url: '/', headers: { host: 'mirror.lan:8080' } });
  assert.match(String(text.headers['content-type']), /^text\/plain/);
  for (const part of [key, old, 'substituters = http://mirror.lan:8080\n', `trusted-public-keys = ${key} ${old}\n`]) {
    assert.ok(text.body.includes(part), part);
  }
  const html = await second.inject({ url: '/', headers: { host: 'mirror.lan', accept: 'text/html,*/*' } });
  assert.match(String(html.headers['content-type']), /^text\/html/);
  assert.match(html.body, /<code>http:\/\/mirror\.lan<\/code>/);
  assert.match(html.body, /web01 &amp; &lt;friends&gt;.*not complete/);
  assert.match(html.body, /<span class="good">ready<\/span>/);
});

test('the front page fetches nothing and runs nothing', async () => {
  await using mirror = await makeMirror();
  await generateMirrorKey(mirror, 'mirror-1');
  await using app = await openApp(mirror.directory);
  const { body, headers } = await app.inject({ url: '/', headers: { host: 'mirror.lan', accept: 'text/html' } });
  assert.doesNotMatch(body, /<(?:script|img|link|iframe|form|input)\b|\son[a-z]+=|javascript:|@import|url\(/i);
  for (const [, address = ''] of body.matchAll(/(?:href|src)="([^"]*)"/g))
    assert.doesNotMatch(address, /^(?:\w+:|\/\/)/);
  const policy = String(headers['content-security-policy']);
  assert.match(policy, /^default-src 'none'; style-src 'sha256-[^']+'; .*frame-ancestors 'none'/);
  assert.equal(headers['x-content-type-options'], 'nosniff');
});

test('the front page says what is wrong when the mirror cannot be read', async () => {
  await using mirror = await makeMirror();
  await using app = await openApp(mirror.directory);
  await mirror.write('nix-cache-info', 'StoreDir: /elsewhere\n');
  const { body, statusCode } = await app.inject({ url: '/', headers: { host: 'mirror.lan', accept: 'text/html' } });
  assert.equal(statusCode, 200);
  assert.match(body, /not ready<\/span> \(nix-cache-info: StoreDir was/);
});

test('client files have the address by which the client came, or the public one, and all valid keys', async () => {
  await using mirror = await makeMirror();
  await using app = await openApp(mirror.directory, {});
  assert.equal((await app.inject('/nix.conf')).statusCode, 404);
  await generateMirrorKey(mirror, 'mirror-1');
  await rotateMirrorKey(mirror, 'mirror-2');
  const conf = await app.inject({ url: '/nix.conf', headers: { host: 'ferry:8080' } });
  assert.match(conf.body, /^substituters = http:\/\/ferry:8080$/m);
  assert.match(conf.body, /^trusted-public-keys = mirror-2:\S+ mirror-1:\S+$/m);
  assert.doesNotMatch(conf.body, /flake-registry/);
  const nixos = await app.inject({ url: '/client.nix?flakes', headers: { host: 'ferry:8080' } });
  assert.match(nixos.body, /substituters = lib\.mkForce \[ "http:\/\/ferry:8080" \];/);
  assert.match(nixos.body, /flake-registry = "http:\/\/ferry:8080\/flake-registry\.json";/);
  await using behind = await openApp(mirror.directory, { publicUrl: 'https://ferry.lan/nix' });
  const install = await behind.inject({ url: '/nixos-install.sh', headers: { host: 'ferry:8080' } });
  assert.match(install.body, /--option substituters 'https:\/\/ferry\.lan\/nix'/);
  assert.match((await behind.inject('/nix-env.sh')).body, /^substituters = https:\/\/ferry\.lan\/nix$/m);
});

test('no Host field comes into any page that could be taken for more than a name', async () => {
  await using mirror = await makeMirror();
  await generateMirrorKey(mirror, 'mirror-1');
  await using app = await openApp(mirror.directory);
  for (const host of HOSTILE_HOSTS) {
    for (const url of ['/', '/nix.conf', '/client.nix', '/nixos-install.sh', '/nix-env.sh']) {
      const answer = await app.inject({ url, headers: { host, accept: 'text/html' } });
      assert.equal(answer.statusCode, 200, `${url} ${host}`);
      assert.ok(!answer.body.includes(`//${host}`), `${url} ${host}`);
    }
  }
});

test('status.json tells programs keys, roots and a path to try out', async () => {
  await using mirror = await makeMirror();
  const key = formatPublicKey(publicKeyOf(await generateMirrorKey(mirror, 'mirror-1')));
  await addRoot(mirror, 'web01');
  await using app = await openApp(mirror.directory);
  const status = parseServerStatus((await app.inject('/nixferry/status.json')).rawPayload);
  assert.deepEqual(status, {
    format: 1,
    storeDir: '/nix/store',
    publicKeys: [key],
    localStore: false,
    roots: [{ name: 'web01', scope: 'run', complete: true, pathCount: 1 }],
    example: '0'.repeat(32),
  });
  assert.equal(parseServerStatus(Buffer.from('<html>')), undefined);
});

test('status.json names a path that is here when no root does', async () => {
  await using mirror = await makeMirror();
  const read = async () => parseServerStatus((await app.inject('/nixferry/status.json')).rawPayload);
  await using app = await openApp(mirror.directory);
  assert.equal((await read())?.example, undefined);
  const { hashPart } = await mirror.addPath('fetched by a proxy');
  assert.equal((await read())?.example, hashPart);
});

test('the front page names the upstreams that are asked, and how they are', () => {
  const page = {
    url: 'http://ferry',
    status: {
      format: 1,
      storeDir: '/nix/store',
      publicKeys: [],
      localStore: false,
      roots: [],
      holds: { paths: 1, fileBytes: 1_200 },
    },
    checks: [],
    nixConf: undefined,
    proxy: {
      upstreams: [
        { url: 'https://cache.example.org', state: 'up' },
        { url: 'https://other.example.org', state: 'down', reason: 'no <address>\u001b[31m', next: 'plug it in' },
      ],
      fetched: { paths: 1, fileBytes: 1_500_000 },
      waiting: { paths: 2, fileBytes: 300 },
    },
  } as const;
  const html = frontPageHtml(page);
  assert.match(html, /Fetches from.*https:\/\/cache\.example\.org \(up\)/);
  assert.match(html, /\(down: no &lt;address&gt;/);
  assert.match(
    frontPageText(page),
    /fetches: https:\/\/other\.example\.org \(down: no <address>[^\u001b]*; next: plug it in\)\n/,
  );
  const fetched =
    '1 path (1.5 MB) fetched since the start; waiting until all that they refer to is here, too: 2 paths (300 B)';
  assert.ok(html.includes(fetched));
  assert.ok(html.includes('The mirror holds 1 path (1.2 kB), for 0 roots.'));
  assert.ok(frontPageText(page).includes(`\n         ${fetched}\nholds:   1 path (1.2 kB)\n\n0 roots\n`));
  assert.doesNotMatch(frontPageHtml({ ...page, proxy: undefined }), /Fetches from/);
});
