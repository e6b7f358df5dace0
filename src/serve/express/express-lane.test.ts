import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { test } from 'node:test';
import * as fc from 'fast-check';
import pino from 'pino';
import { buildApp } from '../app.ts';
import { type MirrorFixture, makeMirror } from '../mirror-fixture.test.ts';
import { openServeContext } from '../serve-context.ts';
import { openExpressLane } from './express-lane.ts';

const FIELDS = 'Host: ferry\r\nUser-Agent: curl/8.14.1 Nix/2.31.2\r\nAccept: */*\r\n\r\n';

/** The mirror's server, with the lane in front of node:http or without. */
async function openServer(directory: string, withLane: boolean) {
  const stopping = new AbortController();
  const logger = pino({ level: 'silent' });
  const context = await openServeContext({ mirrorDirectory: directory, logger }, stopping.signal);
  const app = buildApp(context);
  let requestsOfHttp = 0;
  app.server.on('request', () => requestsOfHttp++);
  const lane = withLane ? openExpressLane(app.server, context) : undefined;
  await app.listen({ host: '127.0.0.1', port: 0 });
  return {
    lane,
    stopping,
    port: portOf(app.server),
    requestsOfHttp: () => requestsOfHttp,
    [Symbol.asyncDispose]: async () => {
      lane?.closeAll();
      app.server.closeAllConnections();
      await app.close();
    },
  };
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

/** A connection, and what came over it. */
async function openConnection(port: number) {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  await once(socket, 'connect');
  let received = '';
  socket.on('error', () => {});
  socket.on('data', (chunk: Buffer) => {
    received += chunk.toString('latin1');
  });
  const ended = once(socket, 'close');
  const until = async (holds: (received: string) => boolean, description: string): Promise<void> => {
    const deadline = AbortSignal.timeout(10_000);
    while (!holds(received) && !socket.destroyed && !deadline.aborted) {
      await Promise.race([once(socket, 'data', { signal: deadline }), ended]).catch(() => {});
    }
    if (!holds(received)) assert.fail(`${description}; received ${JSON.stringify(received.slice(-500))}`);
  };
  return {
    socket,
    ended,
    received: () => received,
    /** Sends a request and resolves to the head and the body of its answer. */
    ask: async (head: string): Promise<{ head: string; body: string }> => {
      received = '';
      socket.write(head, 'latin1');
      const headEnd = () => received.indexOf('\r\n\r\n');
      await until(() => headEnd() > 0, 'a head');
      const answer = { head: received.slice(0, headEnd()), bodyStart: headEnd() + 4 };
      const length = head.startsWith('HEAD') ? 0 : Number(/content-length: (\d+)/i.exec(answer.head)?.[1] ?? 0);
      await until(() => received.length >= answer.bodyStart + length, 'a body');
      assert.equal(received.length, answer.bodyStart + length);
      return { head: answer.head, body: received.slice(answer.bodyStart) };
    },
    until,
    [Symbol.dispose]: () => socket.destroy(),
  };
}

function narInfoRequest(hashPart: string, fields = FIELDS): string {
  return `GET /${hashPart}.narinfo HTTP/1.1\r\n${fields}`;
}

function sortedFields(head: string): string[] {
  return head
    .replace(/\r\nDate: [^\r]+/, '\r\nDate')
    .split('\r\n')
    .toSorted();
}

test('the lane answers a narinfo as node:http does when nothing is asked that needs node:http', async () => {
  await using mirror = await makeMirror();
  const { hashPart, text } = await mirror.addPath('hello');
  await using server = await openServer(mirror.directory, true);
  using connection = await openConnection(server.port);
  for (let round = 0; round < 3; round++) {
    const answer = await connection.ask(narInfoRequest(hashPart));
    assert.equal(answer.body, text);
    assert.match(answer.head, /\r\nDate: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\r\n/);
  }
  assert.equal(server.requestsOfHttp(), 0);
  const quick = await connection.ask(narInfoRequest(hashPart));
  const slow = await connection.ask(narInfoRequest(hashPart, `X-Unknown: 1\r\n${FIELDS}`));
  assert.equal(server.requestsOfHttp(), 1);
  assert.equal(slow.body, quick.body);
  assert.deepEqual(sortedFields(quick.head), sortedFields(slow.head));
});

test('a connection goes on in the lane when node:http has answered something in between', async () => {
  await using mirror = await makeMirror();
  const { hashPart, info, file, text } = await mirror.addPath('x'.repeat(3_000_000), { compression: 'none' });
  await using server = await openServer(mirror.directory, true);
  using connection = await openConnection(server.port);
  const etag = /etag: (\S+)/.exec((await connection.ask(narInfoRequest(hashPart))).head)?.[1];
  const others: [request: string, status: number, body: string][] = [
    [`GET /nix-cache-info HTTP/1.1\r\n${FIELDS}`, 200, 'StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 35\n'],
    [`GET /${info.url} HTTP/1.1\r\n${FIELDS}`, 200, file.toString('latin1')],
    [`GET /${info.url} HTTP/1.1\r\nRange: bytes=-3\r\n${FIELDS}`, 206, file.subarray(-3).toString('latin1')],
    [`HEAD /${info.url} HTTP/1.1\r\n${FIELDS}`, 200, ''],
    [narInfoRequest('0'.repeat(32)), 404, 'not here\n'],
    [narInfoRequest(hashPart, `If-None-Match: ${etag}\r\n${FIELDS}`), 304, ''],
    [`HEAD /${hashPart}.narinfo HTTP/1.1\r\n${FIELDS}`, 200, ''],
  ];
  for (const [index, [request, status, body]] of others.entries()) {
    const answer = await connection.ask(request);
    assert.match(answer.head, new RegExp(`^HTTP/1.1 ${status} `), request);
    assert.ok(answer.body === body, request);
    assert.equal(server.requestsOfHttp(), index + 1);
    assert.equal((await connection.ask(narInfoRequest(hashPart))).body, text);
    assert.equal(server.requestsOfHttp(), index + 1, `after ${request}`);
  }
});

test('a client that reads by fits and starts gets every byte in its place', async () => {
  await using mirror = await makeMirror();
  const { info, file } = await mirror.addPath(randomBytes(24_000_000), { compression: 'none' });
  await using server = await openServer(mirror.directory, true);
  using connection = await openConnection(server.port);
  connection.socket.write(`GET /${info.url} HTTP/1.1\r\n${FIELDS}`);
  connection.socket.on('data', () => {
    connection.socket.pause();
    // Long enough for the server to fill every buffer there is, and to read on if it may.
    setImmediate(() => setImmediate(() => connection.socket.resume()));
  });
  await connection.until((received) => received.length > file.length, 'the whole');
  const received = Buffer.from(connection.received(), 'latin1');
  assert.ok(received.subarray(received.indexOf('\r\n\r\n') + 4).equals(file));
});

test('the lane ends its connections when it is closed: idle ones at once, busy ones after the answer', async () => {
  await using mirror = await makeMirror();
  const { hashPart, info, file } = await mirror.addPath('x'.repeat(40_000_000), { compression: 'none' });
  await using server = await openServer(mirror.directory, true);
  using silent = await openConnection(server.port);
  using idle = await openConnection(server.port);
  using idleAfterHttp = await openConnection(server.port);
  using busy = await openConnection(server.port);
  await idle.ask(narInfoRequest(hashPart));
  await idleAfterHttp.ask(`GET /nix-cache-info HTTP/1.1\r\n${FIELDS}`);
  busy.socket.write(`GET /${info.url} HTTP/1.1\r\n${FIELDS}`);
  await busy.until((received) => received.length > 1000, 'the transfer begins');
  busy.socket.pause();
  server.stopping.abort();
  server.lane?.closeIdle();
  await Promise.all([silent.ended, idle.ended, idleAfterHttp.ended]);
  busy.socket.resume();
  await busy.until((received) => received.length > file.length, 'the rest comes');
  server.lane?.closeIdle();
  await busy.ended;
});

test('a connection that stays open while the server stops is told to close with its next answer', async () => {
  await using mirror = await makeMirror();
  const { hashPart, text } = await mirror.addPath('hello');
  await using server = await openServer(mirror.directory, true);
  using connection = await openConnection(server.port);
  await connection.ask(narInfoRequest(hashPart));
  server.stopping.abort();
  assert.equal((await connection.ask(narInfoRequest(hashPart))).body, text);
  assert.equal(server.requestsOfHttp(), 1, 'node:http answers, which knows how to stop');
});

test('a client that has said all gets its answer when it hangs up its half at once', async () => {
  await using mirror = await makeMirror();
  const { hashPart, text } = await mirror.addPath('hello');
  await using server = await openServer(mirror.directory, true);
  // The first from the disk, the second from memory.
  for (let round = 0; round < 2; round++) {
    using connection = await openConnection(server.port);
    connection.socket.end(narInfoRequest(hashPart));
    await connection.ended;
    assert.match(connection.received(), /^HTTP\/1.1 200 /);
    assert.ok(connection.received().endsWith(text));
  }
});

test('a client that asks on and on without reading is not listened to any more', async () => {
  await using mirror = await makeMirror();
  const { hashPart } = await mirror.addPath('hello');
  await using server = await openServer(mirror.directory, true);
  using connection = await openConnection(server.port);
  await connection.ask(narInfoRequest(hashPart));
  connection.socket.pause();
  // Each in a packet of its own as far as that can be had; what matters is that writing stops being possible.
  let sent = 0;
  while (!connection.socket.writableNeedDrain && sent < 2_000_000) {
    connection.socket.write(narInfoRequest(hashPart));
    if (++sent % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(connection.socket.writableNeedDrain, `${sent} requests were taken`);
});

test('node:http decides when what came in is no request', async () => {
  const server = createServer(() => assert.fail('there was no request'));
  const lane = openExpressLane(server, {
    narInfos: { atHand: () => undefined, find: async () => undefined },
    stopping: new AbortController().signal,
  } as unknown as Parameters<typeof openExpressLane>[1]);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  using connection = await openConnection(portOf(server));
  connection.socket.write('nonsense\r\n\r\n');
  await connection.ended;
  assert.match(connection.received(), /^HTTP\/1.1 400 /);
  lane.closeAll();
  server.close();
});

test('with the lane every answer is the same as without it, however requests are mixed and cut', async () => {
  await using mirror = await makeMirror();
  const pool = await requestPool(mirror);
  await using withLane = await openServer(mirror.directory, true);
  await using without = await openServer(mirror.directory, false);
  const sequence = fc.array(fc.constantFrom(...pool), { minLength: 1, maxLength: 7 });
  const cuts = fc.array(fc.nat({ max: 2000 }), { maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(sequence, cuts, fc.boolean(), async (requests, cutAt, together) => {
      const ending = requests.findIndex(({ ends }) => ends);
      const texts = requests.slice(0, ending === -1 ? undefined : ending + 1).map(({ text }) => text);
      const [quick, plain] = await Promise.all(
        [withLane, without].map(({ port }) => converse(port, texts, ending !== -1, cutAt, together)),
      );
      assert.deepEqual(quick, plain);
    }),
    { numRuns: 250 },
  );
  assert.ok(withLane.requestsOfHttp() < without.requestsOfHttp(), 'the lane was used');
});

interface PoolRequest {
  readonly text: string;
  /** The connection ends with the answer; a client that sends more gets whatever comes of it. */
  readonly ends: boolean;
}

async function requestPool(mirror: MirrorFixture): Promise<PoolRequest[]> {
  const { hashPart, info } = await mirror.addPath('hello');
  const second = await mirror.addPath('y'.repeat(700_000), { compression: 'none' });
  const staying = [
    narInfoRequest(hashPart),
    narInfoRequest(hashPart),
    narInfoRequest(second.hashPart),
    narInfoRequest(second.hashPart, `Connection: keep-alive\r\n${FIELDS}`),
    narInfoRequest('0'.repeat(32)),
    narInfoRequest('E'.repeat(32)),
    narInfoRequest(hashPart, `X-Unknown: 1\r\n${FIELDS}`),
    narInfoRequest(hashPart, `Content-Length: 4\r\n${FIELDS}abcd`),
    narInfoRequest(hashPart, `Transfer-Encoding: chunked\r\n${FIELDS}4\r\nabcd\r\n0\r\n\r\n`),
    narInfoRequest(hashPart, `Host: twice\r\n${FIELDS}`),
    narInfoRequest(hashPart).replace('GET', 'HEAD'),
    `GET /${info.url} HTTP/1.1\r\n${FIELDS}`,
    `GET /${second.info.url} HTTP/1.1\r\n${FIELDS}`,
    `GET /nix-cache-info HTTP/1.1\r\n${FIELDS}`,
    `GET /${'x'.repeat(3000)} HTTP/1.1\r\n${FIELDS}`,
    '\r\n',
  ];
  const ending = [
    narInfoRequest(hashPart, `Connection: close\r\n${FIELDS}`),
    narInfoRequest(hashPart, 'Accept: */*\r\n\r\n'),
    narInfoRequest(hashPart).replace('HTTP/1.1', 'HTTP/1.0'),
    narInfoRequest(hashPart).replace('GET', 'POST'),
  ];
  return [staying, ending].flatMap((texts, group) => texts.map((text) => ({ text, ends: group === 1 })));
}

/** Sends everything, cut somewhere, and resolves to all that comes back once the server has nothing more to say. */
async function converse(
  port: number,
  texts: readonly string[],
  ends: boolean,
  cutAt: readonly number[],
  together: boolean,
) {
  using connection = await openConnection(port);
  const { socket } = connection;
  // The last request must end the connection, so that there is an end to wait for.
  const all = ends ? texts : [...texts, `GET /healthz HTTP/1.1\r\nConnection: close\r\n${FIELDS}`];
  for (const piece of together ? cut(all.join(''), cutAt) : all.flatMap((text) => cut(text, cutAt))) {
    if (socket.destroyed || !socket.writable) break;
    await flushed(socket, piece);
  }
  await connection.ended;
  return connection
    .received()
    .split(/(?=HTTP\/1\.1 )/)
    .map((answer) => answer.replace(/^.*\r\n(?:.+\r\n)*/, (head) => sortedFields(head).join('\n')));
}

function cut(text: string, at: readonly number[]): string[] {
  const places = [...new Set([0, ...at.map((place) => place % text.length), text.length])].toSorted((a, b) => a - b);
  return places.slice(1).map((end, index) => text.slice(places[index], end));
}

/** Writes, and gives the server the time to read that before more comes. */
function flushed(socket: Socket, piece: string): Promise<void> {
  return new Promise((resolve) => socket.write(piece, 'latin1', () => setImmediate(() => setImmediate(resolve))));
}
