import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { makeMirror, openApp } from './mirror-fixture.test.ts';
import { startServer } from './server.ts';

const piece = fc.oneof(
  fc.constantFrom(
    '/',
    '..',
    '.',
    '%2f',
    '%2e',
    '%00',
    '%',
    '%zz',
    '\\',
    '//',
    '?',
    '#',
    '.narinfo',
    '.ls',
    'nar/',
    '.nixferry',
    '~',
  ),
  fc.constantFrom(
    'log/',
    'realisations/',
    'build-trace-v2/',
    'debuginfo/',
    'nix-cache-info',
    '0'.repeat(32),
    'x'.repeat(300),
  ),
  fc.string({ maxLength: 12 }),
);
const path = fc.array(piece, { maxLength: 8 }).map((pieces) => `/${pieces.join('')}`);

test('no path makes the server fail, or answer with private bytes, when it is garbage', async () => {
  await using mirror = await makeMirror();
  await mirror.write('.nixferry/secret', 'TOP SECRET');
  const server = await startServer({ mirrorDirectory: mirror.directory, listen: '127.0.0.1:0', workers: 1 });
  const method = fc.constantFrom('GET', 'HEAD');
  try {
    await fc.assert(
      fc.asyncProperty(path, method, async (url, verb) => {
        const answer = await ask(server.port, `${verb} ${url.replaceAll(/[\r\n ]/g, '%20')} HTTP/1.1\r\nHost: a`);
        assert.match(answer, /^HTTP\/1\.1 [1-4]/, url);
        assert.ok(!answer.includes('TOP SECRET'), url);
      }),
      { numRuns: 600 },
    );
  } finally {
    await server.close({ now: true });
  }
});

test('no header makes the server fail when it is garbage', async () => {
  await using mirror = await makeMirror();
  const { hashPart, info } = await mirror.addPath('hello');
  await using app = await openApp(mirror.directory);
  const name = fc.constantFrom('range', 'if-range', 'if-none-match', 'accept', 'host', 'accept-encoding', 'expect');
  const value = fc.oneof(
    fc.string({ maxLength: 40 }),
    fc.tuple(fc.constantFrom('bytes=', 'W/', '"', '*', ','), fc.string({ maxLength: 20 })).map(([a, b]) => a + b),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom('/', `/${hashPart}.narinfo`, `/${info.url}`),
      name,
      value,
      async (url, key, garbage) => {
        const answer = await app.inject({ url, headers: { [key]: garbage } });
        assert.ok(answer.statusCode < 500, `${answer.statusCode} ${key}: ${garbage}`);
      },
    ),
    { numRuns: 700 },
  );
});

test('no bytes on the wire make the server fail', async () => {
  await using mirror = await makeMirror();
  const server = await startServer({ mirrorDirectory: mirror.directory, listen: '127.0.0.1:0', workers: 1 });
  const word = fc.constantFrom(
    'GET',
    'HEAD',
    'PUT',
    'CONNECT',
    'PURGE',
    'QUERY',
    'get',
    ' ',
    '/',
    '*',
    'http://a/',
    'HTTP/1.1',
    'HTTP/1.0',
    'HTTP/9.9',
  );
  const line = fc.constantFrom(
    '\r\n',
    '\n',
    ':',
    'Host: a',
    'Content-Length: 5',
    'Transfer-Encoding: chunked',
    'Expect: 100-continue',
    'Upgrade: websocket',
    'Connection: upgrade',
    '\0',
  );
  const bytes = fc.array(fc.oneof(word, line, fc.string({ maxLength: 8, unit: 'binary' })), { maxLength: 14 });
  try {
    await fc.assert(
      fc.asyncProperty(bytes, async (parts) => {
        const answer = await exchange(server.port, parts.join(''));
        for (const [, status] of answer.matchAll(/^HTTP\/1\.1 (\d+)/gm)) assert.ok(Number(status) < 500, answer);
      }),
      { numRuns: 300 },
    );
    assert.match(await ask(server.port, 'GET /healthz HTTP/1.1\r\nHost: a'), /^HTTP\/1\.1 200 /);
  } finally {
    await server.close({ now: true });
  }
});

test('a request in the form for proxies, a tunnel, an announced upload and an unknown method get a plain answer', async () => {
  await using mirror = await makeMirror();
  const server = await startServer({ mirrorDirectory: mirror.directory, listen: '127.0.0.1:0', workers: 1 });
  const requests: [head: string, answer: RegExp][] = [
    ['GET http://elsewhere/nix-cache-info HTTP/1.1\r\nHost: a', /^HTTP\/1\.1 200 .*StoreDir/s],
    ['CONNECT elsewhere:443 HTTP/1.1\r\nHost: a', /^HTTP\/1\.1 405 .*allow: GET, HEAD/is],
    [
      'PUT /x.narinfo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nExpect: 100-continue',
      /^HTTP\/1\.1 405 .*allow: GET, HEAD/is,
    ],
    ['PURGE /nix-cache-info HTTP/1.1\r\nHost: a', /^HTTP\/1\.1 405 .*allow: GET, HEAD/is],
    ['OPTIONS * HTTP/1.1\r\nHost: a', /^HTTP\/1\.1 4\d\d /],
    [`GET /${'a'.repeat(5000)} HTTP/1.1\r\nHost: a`, /^HTTP\/1\.1 414 /],
    [`GET / HTTP/1.1\r\nHost: a\r\nX: ${'a'.repeat(40_000)}`, /^HTTP\/1\.1 431 /],
  ];
  try {
    for (const [head, expected] of requests) assert.match(await ask(server.port, head), expected);
  } finally {
    await server.close({ now: true });
  }
});

/** Sends one request, and resolves to all that comes back until the server ends the connection. */
async function ask(port: number, head: string): Promise<string> {
  const socket = await open(port);
  socket.write(Buffer.from(`${head}\r\nConnection: close\r\n\r\n`, 'latin1'));
  return text(socket);
}

/** Sends bytes that may be no request, hangs up, and resolves to what came back. */
async function exchange(port: number, bytes: string): Promise<string> {
  const socket = await open(port);
  socket.end(Buffer.from(bytes, 'latin1'));
  return text(socket).catch(() => '');
}

async function open(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}
