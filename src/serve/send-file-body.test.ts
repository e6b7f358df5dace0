import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, get, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';
import { type FilePart, sendFileBody } from './send-file-body.ts';
import { TransferBuffers } from './transfer-buffers.ts';

type FakeFile = FilePart['file'] & { readonly closed: () => boolean; readonly readBytes: () => number };

/** A file that has `sizeBytes` bytes, each of which tells its position, and is read in pieces of odd sizes. */
function makeFile(sizeBytes: number, failAtByte = Number.POSITIVE_INFINITY): FakeFile {
  let closed = false;
  let readBytes = 0;
  return {
    read: async (target, position) => {
      if (position >= failAtByte) throw new Error('the disk is gone');
      const length = Math.max(0, Math.min(target.length, sizeBytes - position, 70_001));
      for (let index = 0; index < length; index++) target[index] = byteAt(position + index);
      readBytes += length;
      return length;
    },
    close: () => {
      closed = true;
    },
    closed: () => closed,
    readBytes: () => readBytes,
  };
}

function byteAt(position: number): number {
  return (position * 31 + (position >> 8)) & 255;
}

/** A server that sends one body, a client that asks for it, and what sendFileBody came to. */
async function serveOnce(part: FilePart, buffers = new TransferBuffers()) {
  const done = Promise.withResolvers<void>();
  const server = createServer((_request, response: ServerResponse) => {
    response.writeHead(200, { 'content-length': part.lengthBytes });
    sendFileBody(response, part, buffers).then(done.resolve, done.reject);
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

test('sendFileBody writes every byte of the part when the client reads, and closes the file', async () => {
  for (const [startByte, lengthBytes] of [
    [0, 3_000_000],
    [1_234_567, 1_500_000],
    [7, 1],
    [0, 0],
  ] as const) {
    const file = makeFile(3_000_000);
    await using served = await serveOnce({ file, startByte, lengthBytes });
    const body = await buffer(served.response);
    await served.done;
    assert.deepEqual(body, Buffer.from(Array.from({ length: lengthBytes }, (_, index) => byteAt(startByte + index))));
    assert.equal(file.closed(), true);
  }
});

test('sendFileBody sends each client its own bytes when the buffers are used again', async () => {
  const buffers = new TransferBuffers();
  const starts = Array.from({ length: 8 }, (_, index) => index * 100_003);
  await Promise.all(
    starts.map(async (startByte) => {
      await using served = await serveOnce({ file: makeFile(5_000_000), startByte, lengthBytes: 2_000_000 }, buffers);
      const body = await buffer(served.response);
      for (let index = 0; index < body.length; index += 997) assert.equal(body[index], byteAt(startByte + index));
    }),
  );
});

test('sendFileBody breaks the connection off when the file is shorter than announced', async () => {
  const file = makeFile(2000);
  await using served = await serveOnce({ file, startByte: 0, lengthBytes: 3000 });
  await assert.rejects(buffer(served.response), { code: 'ECONNRESET' });
  await assert.rejects(served.done, /2000 bytes instead of 3000/);
  assert.equal(file.closed(), true);
});

test('sendFileBody breaks the connection off when the file cannot be read', async () => {
  const file = makeFile(3_000_000, 1_000_000);
  await using served = await serveOnce({ file, startByte: 0, lengthBytes: 3_000_000 });
  await assert.rejects(buffer(served.response), { code: 'ECONNRESET' });
  await assert.rejects(served.done, /the disk is gone/);
  assert.equal(file.closed(), true);
});

test('sendFileBody closes the file and is content when the client goes away', async () => {
  const file = makeFile(1024 ** 4);
  await using served = await serveOnce({ file, startByte: 0, lengthBytes: 1024 ** 4 });
  await once(served.response, 'data');
  served.response.destroy();
  await served.done;
  assert.equal(file.closed(), true);
});

test('sendFileBody reads no further ahead than buffers hold when the client does not read', async () => {
  const file = makeFile(1024 ** 4);
  await using served = await serveOnce({ file, startByte: 0, lengthBytes: 1024 ** 4 });
  served.response.pause();
  let before = -1;
  // The kernel's socket buffers fill up, then nothing moves any more.
  while (before !== file.readBytes()) {
    before = file.readBytes();
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(before < 64 * 1024 * 1024, `${before} bytes were read`);
});
