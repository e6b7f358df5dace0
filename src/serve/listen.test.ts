import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { listenOn } from './listen.ts';

async function listenAt(host: string | undefined) {
  const server = createHttpServer((_request, response) => response.end('here'));
  const listening = await listenOn(server, { address: { host, port: 0 } });
  return {
    port: listening.bound?.port ?? 0,
    [Symbol.asyncDispose]: async () => {
      listening.close();
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

async function reachable(url: string): Promise<boolean> {
  return fetch(url).then(
    async (answer) => (await answer.text()) === 'here',
    () => false,
  );
}

test('listenOn takes connections by IPv4 and IPv6 on the same port when it is asked for localhost, or for every address', async () => {
  for (const host of ['localhost', undefined]) {
    await using server = await listenAt(host);
    assert.equal(await reachable(`http://127.0.0.1:${server.port}`), true, `${host} by IPv4`);
    assert.equal(await reachable(`http://[::1]:${server.port}`), true, `${host} by IPv6`);
  }
});

test('listenOn takes connections only where it is asked to', async () => {
  await using server = await listenAt('127.0.0.1');
  assert.equal(await reachable(`http://127.0.0.1:${server.port}`), true);
  assert.equal(await reachable(`http://[::1]:${server.port}`), false);
});

test('listenOn throws when an address is taken', async () => {
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const address = other.address();
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
  await assert.rejects(listenOn(createHttpServer(), { address: { host: 'localhost', port } }), { code: 'EADDRINUSE' });
  other.close();
});
