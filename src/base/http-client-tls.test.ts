import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { instantClock } from '../../test/support/instant-clock.ts';
import { makeAuthority, type SelfMadeAuthority } from '../../test/support/self-made-authority.ts';
import { makeTempDir, type TempDir } from '../../test/support/temp-dir.ts';
import { startUnreliableServer } from '../../test/support/unreliable-server.ts';
import { createHttpClient, type HttpClientOptions } from './http-client.ts';

const MAX = { maxBytes: 100_000 };
const hello = (path: string) => ({ body: `hello from ${path}` });
let directory: TempDir;
let authority: SelfMadeAuthority;

before(async () => {
  directory = await makeTempDir('http-tls');
  authority = await makeAuthority(directory);
});

after(async () => {
  await directory[Symbol.asyncDispose]();
});

function client(options: HttpClientOptions = {}) {
  return createHttpClient({ environment: {}, clock: instantClock(), caFile: authority.certFile, ...options });
}

test('a certificate of an unknown authority is refused, with the way to trust it', async () => {
  await using server = await startUnreliableServer({ respond: hello, tls: authority });
  await using http = createHttpClient({ environment: {}, clock: instantClock() });
  await assert.rejects(http.getBytes(server.url, MAX), (error: Error & { hint?: string; failure?: string }) => {
    assert.match(error.message, /certificate of 127\.0\.0\.1:\d+ is not trusted/);
    assert.match(error.hint ?? '', /SSL_CERT_FILE/);
    return error.failure === 'host-down';
  });
  assert.equal(server.requests.length, 0);
});

test('a certificate is trusted when its authority is in the file given or named by the environment', async () => {
  await using server = await startUnreliableServer({ respond: hello, tls: authority });
  const settings: HttpClientOptions[] = [
    { environment: {}, caFile: authority.certFile },
    { environment: { SSL_CERT_FILE: authority.certFile } },
    { environment: { NIX_SSL_CERT_FILE: authority.certFile, SSL_CERT_FILE: '/does/not/exist' } },
  ];
  for (const setting of settings) {
    await using http = createHttpClient(setting);
    assert.equal((await http.getBytes(`${server.url}/a`, MAX)).bytes.toString(), 'hello from /a');
  }
});

test('a file in the environment replaces the usual authorities, and the file given adds to them', async () => {
  const other = await makeAuthority(directory, 'other');
  await using server = await startUnreliableServer({ respond: hello, tls: authority });
  await using strict = createHttpClient({ environment: { SSL_CERT_FILE: other.certFile } });
  await assert.rejects(strict.getBytes(server.url, MAX), /not trusted/);
  await using both = createHttpClient({ environment: { SSL_CERT_FILE: other.certFile }, caFile: authority.certFile });
  assert.equal((await both.getBytes(server.url, MAX)).status, 200);
});

test('a certificate for another name is refused', async () => {
  await using server = await startUnreliableServer({ respond: hello, tls: authority });
  await using http = client();
  await assert.rejects(http.getBytes(`https://127.0.0.2:${server.port}/`, MAX), { failure: 'host-down' });
});

test('a certificate file that is missing, empty or damaged is a mistake of usage', async () => {
  const empty = directory.join('empty.pem');
  await writeFile(empty, 'nothing here\n');
  const damaged = directory.join('damaged.pem');
  await writeFile(damaged, '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n');
  await using server = await startUnreliableServer({ respond: hello, tls: authority });
  for (const caFile of [directory.join('missing.pem'), empty, damaged]) {
    await using http = client({ caFile });
    await assert.rejects(http.getBytes(server.url, MAX), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'usage');
      return error.message.includes(caFile);
    });
  }
});

test('credentials of netrc do not follow a redirect that leaves TLS, even to the same host', async () => {
  await using plain = await startUnreliableServer({ respond: hello });
  await using server = await startUnreliableServer({ respond: hello, tls: authority });
  server.misbehave({ path: /away/, fault: { kind: 'redirect', location: `${plain.url}/there` } });
  const netrcFile = directory.join('netrc');
  await writeFile(netrcFile, 'machine 127.0.0.1 login me password secret\n');
  await using http = client({ netrcFile });
  assert.equal((await http.getBytes(`${server.url}/away`, MAX)).bytes.toString(), 'hello from /there');
  assert.ok(server.requests[0]?.headers.authorization !== undefined);
  assert.equal(plain.requests[0]?.headers.authorization, undefined);
});

test('hundreds of small requests share a connection where the server speaks HTTP/2', async () => {
  await using server = await startHttp2Server();
  await using http = client();
  await http.getBytes(`${server.url}/first`, MAX);
  const results = await Promise.all(
    Array.from({ length: 256 }, (_, index) => http.getBytes(`${server.url}/${index}`, MAX)),
  );
  assert.deepEqual(
    results.map(({ bytes }) => bytes.toString()),
    Array.from({ length: 256 }, (_, index) => `h2 /${index}`),
  );
  assert.ok(server.sessions() <= 2, `${server.sessions()} sessions`);
  assert.ok(server.mostAtOnce() > 64, `${server.mostAtOnce()} at once`);
});

test('large transfers use connections of their own beside HTTP/2', async () => {
  await using server = await startHttp2Server();
  await using http = client();
  await http.getBytes(`${server.url}/first`, MAX);
  const { body } = await http.get(`${server.url}/large`);
  assert.equal(Buffer.concat(await Array.fromAsync(body)).toString(), 'h1 /large');
});

test('requests are repeated when an HTTP/2 server breaks streams, sessions, or sends everybody away', async () => {
  for (const trouble of ['reset', 'reset-body', 'destroy', 'goaway'] as const) {
    await using server = await startHttp2Server(trouble);
    await using http = client();
    await http.getBytes(`${server.url}/first`, MAX);
    const results = await Promise.all(
      Array.from({ length: 150 }, (_, index) => http.getBytes(`${server.url}/${index}`, MAX)),
    );
    assert.ok(
      results.every(({ bytes }, index) => bytes.toString() === `h2 /${index}`),
      trouble,
    );
    assert.ok(server.troubles() > 0);
  }
});

test('a server that offers HTTP/1.1 only gets no shared connections', async () => {
  await using server = await startUnreliableServer({ respond: hello, tls: authority, latencyMs: 3 });
  await using http = client({ connectionsPerHost: 16 });
  await http.getBytes(server.url, MAX);
  await Promise.all(Array.from({ length: 64 }, (_, index) => http.getBytes(`${server.url}/${index}`, MAX)));
  assert.ok(server.mostAtOnce <= 16, `${server.mostAtOnce} at once`);
  assert.ok(server.connectionCount > 3, `${server.connectionCount} connections`);
});

type Trouble = 'reset' | 'reset-body' | 'destroy' | 'goaway';

interface Http2Server extends AsyncDisposable {
  readonly url: string;
  sessions(): number;
  mostAtOnce(): number;
  troubles(): number;
}

/** Speaks both protocols, and makes trouble at a few of the streams after the first. */
async function startHttp2Server(trouble?: Trouble): Promise<Http2Server> {
  const server = http2.createSecureServer({ key: authority.key, cert: authority.cert, allowHTTP1: true });
  const sessions = new Set<http2.ServerHttp2Session>();
  let sessionCount = 0;
  let streamCount = 0;
  let underWay = 0;
  let mostAtOnce = 0;
  let troubles = 0;
  server.on('session', (session) => {
    sessionCount += 1;
    sessions.add(session);
    session.on('error', () => {});
    session.once('close', () => sessions.delete(session));
  });
  server.on('request', (request, response) => {
    if (request.httpVersion === '1.1') response.end(`h1 ${request.url}`);
  });
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {});
    streamCount += 1;
    underWay += 1;
    mostAtOnce = Math.max(mostAtOnce, underWay);
    stream.once('close', () => {
      underWay -= 1;
    });
    const isTroubled = trouble !== undefined && troubles < 3 && streamCount % 20 === 0;
    if (isTroubled) troubles += 1;
    setTimeout(() => {
      if (stream.destroyed) return;
      if (isTroubled) makeTrouble(stream, trouble);
      else {
        stream.respond({ ':status': 200 });
        stream.end(`h2 ${headers[':path']}`);
      }
    }, 10);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `https://127.0.0.1:${port}`,
    sessions: () => sessionCount,
    mostAtOnce: () => mostAtOnce,
    troubles: () => troubles,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const session of sessions) session.destroy();
      await closed;
    },
  };
}

function makeTrouble(stream: http2.ServerHttp2Stream, trouble: Trouble): void {
  switch (trouble) {
    case 'reset':
      stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
      return;
    case 'reset-body':
      stream.respond({ ':status': 200, 'content-length': '100' });
      stream.write('abc');
      setTimeout(() => stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR), 5);
      return;
    case 'destroy':
      stream.session?.destroy();
      return;
    case 'goaway':
      stream.session?.goaway(http2.constants.NGHTTP2_NO_ERROR);
  }
}
