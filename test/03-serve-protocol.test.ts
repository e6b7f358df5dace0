// Real Nix as the client of `serve`: installs with signatures required, goes on after a broken transfer, and does the same from
// the same folder behind plain nginx.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { startServer } from '../src/serve/server.ts';
import { formatClientConfig } from '../src/site/client-config.ts';
import { assertInstalled } from './support/carry.ts';
import { createNixEnvironment, type NixEnvironment } from './support/nix.ts';
import { start } from './support/run.ts';
import { makeTempDir } from './support/temp-dir.ts';
import { makeUpstream, type TestUpstream } from './support/upstream.ts';
import { freePort, untilAnswered } from './support/web-server.ts';

let maker: NixEnvironment;
let cache: TestUpstream;

before(async () => {
  maker = await createNixEnvironment();
  cache = await makeUpstream({
    nix: maker,
    paths: 12,
    compressions: ['xz', 'zstd', 'none'],
    largestFileBytes: 4_000_000,
  });
});

after(async () => {
  await maker[Symbol.asyncDispose]();
});

/** A client with an empty store, set up with nothing but what `client-config` prints. */
function openClient(url: string, publicKey = cache.publicKey): Promise<NixEnvironment> {
  return createNixEnvironment({ config: [formatClientConfig({ format: 'nix-conf', url, publicKeys: [publicKey] })] });
}

test('nix-store --realise installs a closure from serve when only the key of the mirror is trusted', async () => {
  const server = await startServer({ mirrorDirectory: cache.directory, listen: '127.0.0.1:0', workers: 2 });
  try {
    await using client = await openClient(server.url);
    await client.run('nix-store', ['--realise', cache.root]);
    await assertInstalled(client, maker, cache);
  } finally {
    await server.close();
  }
});

test('nix-store --realise refuses what serve offers when the key is another', async () => {
  const server = await startServer({ mirrorDirectory: cache.directory, listen: '127.0.0.1:0', workers: 1 });
  try {
    const [name, otherKey] = ['other-1', 'A'.repeat(43)];
    await using client = await openClient(server.url, `${name}:${otherKey}=`);
    const { stderr } = await client.run('nix-store', ['--realise', cache.root], { exitCode: 'any' });
    assert.match(stderr, /is not signed by any of the keys in 'trusted-public-keys'/);
    const { exitCode } = await client.run('nix-store', ['--check-validity', cache.root], { exitCode: 'any' });
    assert.notEqual(exitCode, 0);
  } finally {
    await server.close();
  }
});

test('nix-store --realise goes on with a NAR by Range when the connection breaks in the middle', async () => {
  // Uncompressed, so that one NAR is larger than what the proxy lets through.
  const plain = await makeUpstream({
    nix: maker,
    paths: 6,
    name: 'plain',
    compressions: ['none'],
    largestFileBytes: 4_000_000,
  });
  const server = await startServer({ mirrorDirectory: plain.directory, listen: '127.0.0.1:0', workers: 1 });
  const proxy = await openBreakingProxy(server.port);
  try {
    await using client = await openClient(`http://127.0.0.1:${proxy.port}`, plain.publicKey);
    await client.run('nix-store', ['--realise', plain.root]);
    await assertInstalled(client, maker, plain);
    assert.equal(proxy.broken(), 1);
    const [firstByte] = proxy.rangesAsked();
    assert.ok(firstByte !== undefined && firstByte > 0, 'the rest was asked for, not the whole again');
  } finally {
    proxy.close();
    await server.close();
  }
});

test('nix-store --realise installs from the same folder when plain nginx serves it', async () => {
  await using nginx = await openNginx(cache.directory);
  await using client = await openClient(nginx.url);
  await client.run('nix-store', ['--realise', cache.root]);
  await assertInstalled(client, maker, cache);
});

test('nix log and nix store ls find through serve what the cache holds', async () => {
  const [derivation = ''] = await maker.lines('nix-store', ['--query', '--deriver', cache.root]);
  await mkdir(path.join(cache.directory, 'log'), { recursive: true });
  await writeFile(path.join(cache.directory, 'log', path.basename(derivation)), 'it was built\n');
  const server = await startServer({ mirrorDirectory: cache.directory, listen: '127.0.0.1:0', workers: 1 });
  try {
    await using client = await openClient(server.url);
    const nix = ['--extra-experimental-features', 'nix-command', '--store', server.url];
    assert.match((await client.run('nix', ['store', 'ls', ...nix, cache.root])).stdout, /^\.\/bin$/m);
    assert.equal((await client.run('nix', ['log', ...nix, cache.root])).stdout, 'it was built\n');
  } finally {
    await server.close();
  }
});

/** Breaks off the first connection that carries a large body, in the middle of it; lets everything else through. */
async function openBreakingProxy(port: number) {
  let broken = 0;
  let requests = '';
  const sockets = new Set<{ destroy(): void }>();
  const proxy: Server = createServer((client) => {
    const upstream = connect(port, '127.0.0.1');
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => {});
    }
    let passedBytes = 0;
    client.on('data', (chunk) => {
      requests += chunk.toString('latin1');
    });
    upstream.on('data', (chunk) => {
      passedBytes += chunk.length;
      if (passedBytes <= BREAK_AFTER_BYTES || broken > 0) return;
      broken++;
      client.destroy();
      upstream.destroy();
    });
    client.on('close', () => upstream.destroy());
    upstream.on('close', () => client.destroy());
    client.pipe(upstream);
    upstream.pipe(client);
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  return {
    port: (proxy.address() as AddressInfo).port,
    broken: () => broken,
    rangesAsked: () => [...requests.matchAll(/^Range: bytes=(\d+)-/gim)].map(([, first]) => Number(first)),
    close: () => {
      for (const socket of sockets) socket.destroy();
      proxy.close();
    },
  };
}

const BREAK_AFTER_BYTES = 1_000_000;

async function openNginx(directory: string) {
  const temp = await makeTempDir('nginx');
  const port = await freePort();
  const config = temp.join('nginx.conf');
  await mkdir(temp.join('temp'));
  const tempPaths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${temp.join('temp', name)};`,
  );
  await writeFile(
    config,
    `daemon off; ${process.getuid?.() === 0 ? 'user root;' : ''}
pid ${temp.join('pid')}; error_log stderr;
events {}
http { access_log off; ${tempPaths.join(' ')}
  server { listen 127.0.0.1:${port}; root ${directory}; } }
`,
  );
  const program = start('nginx', ['-e', 'stderr', '-c', config]);
  const url = `http://127.0.0.1:${port}`;
  await untilAnswered(`${url}/nix-cache-info`, program.done);
  return {
    url,
    [Symbol.asyncDispose]: async () => {
      await program.stop();
      await temp[Symbol.asyncDispose]();
    },
  };
}
