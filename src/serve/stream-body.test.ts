import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, get, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';
import { streamBody } from './stream-body.ts';

/** A server that sends one stream, a client that asks for it, and what streamBody came to. */
async function serveOnce(source: Readable, sizeBytes: number) {
  const done = Promise.withResolvers<void>();
  const server = createServer((_request, response: ServerResponse) => {
    response.writeHead(200, { 'content-length': sizeBytes });
    streamBody(response, source, sizeBytes).then(done.resolve, done.reject);
  });
  done.promise.catch(() => {});
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const request = get({ host: '127.0.0.1', port: (server.address() as AddressInfo).port });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  const close = async (): Promise<void> => {
    server.closeAllConnections();
    server.close();
  };
  return { response, done: done.promise, [Symbol.asyncDispose]: close };
}

function chunks(count: number, sizeBytes: number): Readable {
  return Readable.from(
    Array.from({ length: count }, (_, index) => Buffer.alloc(sizeBytes, index)),
    { objectMode: false },
  );
}

test('streamBody writes every byte when the client reads', async () => {
  await using served = await serveOnce(chunks(40, 100_000), 4_000_000);
  const body = await buffer(served.response);
  await served.done;
  assert.equal(body.length, 4_000_000);
  assert.deepEqual(body, await buffer(chunks(40, 100_000)));
});

test('streamBody breaks the connection off when the source is shorter than announced', async () => {
  await using served = await serveOnce(chunks(2, 1000), 3000);
  await assert.rejects(buffer(served.response), { code: 'ECONNRESET' });
  await assert.rejects(served.done, /2000 bytes instead of 3000/);
});

test('streamBody breaks the connection off when the source is longer than announced', async () => {
  const source = chunks(40, 1_000_000);
  await using served = await serveOnce(source, 30_500_000);
  await assert.rejects(buffer(served.response), { code: 'ECONNRESET' });
  await assert.rejects(served.done, /31000000 bytes instead of 30500000/);
  assert.equal(source.destroyed, true);
});

test('streamBody breaks the connection off when the source fails', async () => {
  const source = Readable.from(
    (function* () {
      yield Buffer.alloc(1000);
      throw new Error('the disk is gone');
    })(),
    { objectMode: false },
  );
  await using served = await serveOnce(source, 3000);
  await assert.rejects(served.done, /the disk is gone/);
  await assert.rejects(buffer(served.response), { code: 'ECONNRESET' });
});

test('streamBody closes the source and is content when the client goes away', async () => {
  const source = new Readable({
    read() {
      this.push(Buffer.alloc(256 * 1024));
    },
  });
  await using served = await serveOnce(source, 1024 ** 4);
  await once(served.response, 'data');
  served.response.destroy();
  await served.done;
  assert.equal(source.destroyed, true);
});

test('streamBody reads no further ahead than buffers hold when the client does not read', async () => {
  let pushed = 0;
  const source = new Readable({
    highWaterMark: 256 * 1024,
    read() {
      pushed += 256 * 1024;
      this.push(Buffer.alloc(256 * 1024));
    },
  });
  await using served = await serveOnce(source, 1024 ** 4);
  served.response.pause();
  let before = -1;
  // The kernel's socket buffers fill up, then nothing moves any more.
  while (before !== pushed) {
    before = pushed;
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(pushed < 64 * 1024 * 1024, `${pushed} bytes were read`);
});
