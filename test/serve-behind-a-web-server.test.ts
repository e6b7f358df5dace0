// docs/guide/behind-nginx.md, word for word but for addresses and folders: nginx and Caddy send the files that serve names, to real Nix.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { type RunningServer, startServer } from '../src/serve/server.ts';
import { formatClientConfig } from '../src/site/client-config.ts';
import { assertInstalled } from './support/carry.ts';
import { createNixEnvironment, type NixEnvironment } from './support/nix.ts';
import { repositoryRoot } from './support/nixferry.ts';
import { type RunningProcess, start, toolEnvironment } from './support/run.ts';
import { makeTempDir, type TempDir } from './support/temp-dir.ts';
import { makeUpstream, type TestUpstream } from './support/upstream.ts';
import { freePort, untilAnswered } from './support/web-server.ts';

let maker: NixEnvironment;
let cache: TestUpstream;
let server: RunningServer;

before(async () => {
  maker = await createNixEnvironment();
  cache = await makeUpstream({
    nix: maker,
    paths: 8,
    compressions: ['xz', 'none'],
    largestFileBytes: 3_000_000,
  });
  server = await startServer({
    mirrorDirectory: cache.directory,
    listen: '127.0.0.1:0',
    workers: 1,
    sendfileHeader: 'X-Accel-Redirect',
  });
});

after(async () => {
  await server.close({ now: true });
  await maker[Symbol.asyncDispose]();
});

const WEB_SERVERS = [
  { name: 'nginx', open: openNginx },
  { name: 'Caddy', open: openCaddy },
];

for (const { name, open } of WEB_SERVERS) {
  test(`real Nix installs through ${name} when it sends the files that serve names`, async () => {
    await using front = await openFront(open);
    await using client = await createNixEnvironment({
      config: [formatClientConfig({ format: 'nix-conf', url: front.url, publicKeys: [cache.publicKey] })],
    });
    await client.run('nix-store', ['--realise', cache.root]);
    await assertInstalled(client, maker, cache);
  });

  test(`${name} sends whole files, parts and nothing at all, as serve does without it`, async () => {
    await using front = await openFront(open);
    const [nar = ''] = await readdir(path.join(cache.directory, 'nar'));
    const bytes = await readFile(path.join(cache.directory, 'nar', nar));
    const url = `${front.url}/nar/${nar}`;

    const direct = await fetch(`${server.url}/nar/${nar}`);
    assert.equal((await direct.arrayBuffer()).byteLength, 0, 'it is not Nixferry that sends the bytes');
    const whole = await fetch(url);
    assert.equal(whole.status, 200);
    assert.equal(digest(await whole.arrayBuffer()), digest(bytes));
    assert.equal(whole.headers.get('content-type'), 'application/x-nix-nar');
    assert.equal(whole.headers.get('accept-ranges'), 'bytes');
    assert.equal(whole.headers.get('content-length'), String(bytes.length));
    assert.equal(whole.headers.get('cache-control'), 'public, max-age=31536000, immutable');
    assert.equal(whole.headers.get('content-encoding'), null);
    assert.equal(whole.headers.get('x-accel-redirect'), null);

    const part = await fetch(url, { headers: { range: 'bytes=5-9' } });
    assert.equal(part.status, 206);
    assert.deepEqual(Buffer.from(await part.arrayBuffer()), bytes.subarray(5, 10));
    const head = await fetch(url, { method: 'HEAD' });
    assert.equal(head.headers.get('content-length'), String(bytes.length));
    const etag = whole.headers.get('etag') ?? '';
    assert.equal((await fetch(url, { headers: { 'if-none-match': etag } })).status, 304);
    assert.equal((await fetch(url, { headers: { range: `bytes=${bytes.length}-` } })).status, 416);
    assert.equal((await fetch(`${front.url}/nar/${'0'.repeat(52)}.nar.xz`)).status, 404);
  });

  test(`${name} gives clients nothing of the mirror that serve does not name`, async () => {
    await using front = await openFront(open);
    await mkdir(path.join(cache.directory, '.nixferry/keys'), { recursive: true });
    await writeFile(path.join(cache.directory, '.nixferry/keys/secret'), 'the secret key');
    for (const address of [
      '/nixferry-files/nix-cache-info',
      '/nixferry-files/.nixferry/keys/secret',
      '/.nixferry/keys/secret',
      '/nar/..%2f.nixferry%2fkeys%2fsecret',
      '/nixferry-files/..%2f..%2fetc%2fpasswd',
    ]) {
      const answer = await fetch(`${front.url}${address}`);
      assert.ok(answer.status >= 400 && answer.status < 500, `${answer.status} ${address}`);
      assert.doesNotMatch(await answer.text(), /secret key|StoreDir|root:/);
    }
  });
}

interface Front {
  readonly program: RunningProcess;
  readonly url: string;
}

async function openFront(open: (temp: TempDir) => Promise<Front>) {
  const temp = await makeTempDir('front');
  const front = await open(temp);
  await untilAnswered(`${front.url}/nix-cache-info`, front.program.done);
  return {
    url: front.url,
    [Symbol.asyncDispose]: async () => {
      await front.program.stop();
      await temp[Symbol.asyncDispose]();
    },
  };
}

async function openNginx(temp: TempDir): Promise<Front> {
  const port = await freePort();
  const ready = replaceAll(await exampleInGuide('nginx'), [
    ['127.0.0.1:8080', `127.0.0.1:${server.port}`],
    ['listen 80;', `listen 127.0.0.1:${port};`],
    // Not every machine has IPv6.
    ['listen [::]:80;', hasIpv6() ? `listen [::1]:${port};` : ''],
    ['alias /var/lib/nixferry/;', `alias ${cache.directory}/;`],
  ]);
  await mkdir(temp.join('temp'));
  const tempPaths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${temp.join('temp', name)};`,
  );
  const config = temp.join('nginx.conf');
  // As Debian's nginx.conf has it around the files of conf.d, with compression switched on as some have it.
  await writeFile(
    config,
    `daemon off; ${process.getuid?.() === 0 ? 'user root;' : ''} pid ${temp.join('pid')}; error_log stderr; events {}
http { access_log off; gzip on; gzip_types *; default_type application/octet-stream; ${tempPaths.join(' ')}
${ready} }
`,
  );
  return { program: start('nginx', ['-e', 'stderr', '-c', config]), url: `http://127.0.0.1:${port}` };
}

function hasIpv6(): boolean {
  return Object.values(networkInterfaces()).some((addresses) => addresses?.some(({ address }) => address === '::1'));
}

async function openCaddy(temp: TempDir): Promise<Front> {
  const port = await freePort();
  const ready = replaceAll(await exampleInGuide('caddyfile'), [
    ['127.0.0.1:8080', `127.0.0.1:${server.port}`],
    ['http://ferry.example', `http://127.0.0.1:${port}`],
    ['root * /var/lib/nixferry', `root * ${cache.directory}`],
  ]);
  const config = temp.join('Caddyfile');
  await writeFile(config, `{\n\tadmin off\n}\n${ready}`);
  const env = toolEnvironment({
    HOME: temp.path,
    XDG_DATA_HOME: temp.join('data'),
    XDG_CONFIG_HOME: temp.join('config'),
  });
  const program = start('caddy', ['run', '--config', config, '--adapter', 'caddyfile'], { env });
  return { program, url: `http://127.0.0.1:${port}` };
}

async function exampleInGuide(language: string): Promise<string> {
  const guide = await readFile(path.join(repositoryRoot, 'docs/guide/behind-nginx.md'), 'utf8');
  const example = guide.match(new RegExp(`^\`\`\`${language}\n([^]*?)^\`\`\``, 'm'))?.[1];
  assert.ok(example !== undefined, `the guide has an example in ${language}`);
  return example;
}

function replaceAll(text: string, replacements: readonly (readonly [string, string])[]): string {
  return replacements.reduce((changed, [from, to]) => {
    assert.ok(changed.includes(from), `the example says ${from}`);
    return changed.replaceAll(from, to);
  }, text);
}

function digest(bytes: ArrayBuffer | Uint8Array): string {
  return createHash('sha256').update(new Uint8Array(bytes)).digest('hex');
}
