import assert from 'node:assert/strict';
import http from 'node:http';
import https from 'node:https';
import net, { type AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { instantClock } from '../../test/support/instant-clock.ts';
import { makeAuthority, type SelfMadeAuthority } from '../../test/support/self-made-authority.ts';
import { makeTempDir, type TempDir } from '../../test/support/temp-dir.ts';
import { startUnreliableServer } from '../../test/support/unreliable-server.ts';
import { createHttpClient } from './http-client.ts';

const MAX = { maxBytes: 1000 };
const hello = (path: string) => ({ body: `hello from ${path}` });
let directory: TempDir;
let authority: SelfMadeAuthority;

before(async () => {
  directory = await makeTempDir('http-proxy');
  authority = await makeAuthority(directory);
});

after(async () => {
  await directory[Symbol.asyncDispose]();
});

function client(environment: Record<string, string>, connectTimeoutMs = 2000) {
  return createHttpClient({ environment, caFile: authority.certFile, clock: instantClock(), connectTimeoutMs });
}

test('plain requests go through HTTP_PROXY with their whole address', async () => {
  await using server = await startUnreliableServer({ respond: hello });
  await using proxy = await startProxy();
  await using http1 = client({ HTTP_PROXY: proxy.url });
  assert.equal((await http1.getBytes(`${server.url}/a?b`, MAX)).bytes.toString(), 'hello from /a?b');
  assert.deepEqual(proxy.seen, [`GET ${server.url}/a?b`]);
  assert.equal(server.requests[0]?.headers.host, `127.0.0.1:${server.port}`);
});

test('TLS requests go through a tunnel of HTTPS_PROXY, whose names the proxy looks up', async () => {
  await using server = await startUnreliableServer({ respond: hello, tls: authority });
  await using proxy = await startProxy({ resolve: () => server.port });
  await using http1 = client({ https_proxy: proxy.url });
  const { bytes } = await http1.getBytes(`https://localhost:4433/a`, MAX);
  assert.equal(bytes.toString(), 'hello from /a');
  assert.deepEqual(proxy.seen, ['CONNECT localhost:4433']);
  const { body } = await http1.get('https://localhost:4433/large');
  assert.equal(Buffer.concat(await Array.fromAsync(body)).toString(), 'hello from /large');
});

test('a proxy that is itself reached over TLS works', async () => {
  await using server = await startUnreliableServer({ respond: hello, tls: authority });
  await using proxy = await startProxy({ tls: authority });
  await using http1 = client({ HTTPS_PROXY: proxy.url });
  assert.equal((await http1.getBytes(`${server.url}/a`, MAX)).status, 200);
  assert.equal(proxy.seen.length, 1);
});

test('hosts in NO_PROXY are reached directly', async () => {
  await using server = await startUnreliableServer({ respond: hello });
  await using proxy = await startProxy();
  await using http1 = client({ HTTP_PROXY: proxy.url, NO_PROXY: '127.0.0.0/8' });
  assert.equal((await http1.getBytes(server.url, MAX)).status, 200);
  assert.deepEqual(proxy.seen, []);
});

test('user name and password of the proxy are sent to the proxy alone', async () => {
  await using plain = await startUnreliableServer({ respond: hello });
  await using secure = await startUnreliableServer({ respond: hello, tls: authority });
  await using proxy = await startProxy({ password: 'me:s3cret' });
  const address = proxy.url.replace('//', '//me:s3cret@');
  await using http1 = client({ HTTP_PROXY: address, HTTPS_PROXY: address });
  for (const server of [plain, secure]) {
    assert.equal((await http1.getBytes(server.url, MAX)).status, 200);
    assert.equal(server.requests[0]?.headers['proxy-authorization'], undefined);
  }
});

test('a proxy that wants a password says so, and no message shows the wrong one', async () => {
  await using plain = await startUnreliableServer({ respond: hello });
  await using secure = await startUnreliableServer({ respond: hello, tls: authority });
  await using proxy = await startProxy({ password: 'me:s3cret' });
  const address = proxy.url.replace('//', '//me:wr0ng@');
  await using http1 = client({ HTTP_PROXY: address, HTTPS_PROXY: address });
  for (const server of [plain, secure]) {
    await assert.rejects(http1.getBytes(server.url, MAX), (error: Error & { hint?: string }) => {
      assert.match(error.message, /407/);
      assert.match(error.hint ?? '', /USER:PASSWORD/);
      return !`${error.message}${error.stack}`.includes('wr0ng');
    });
  }
});

test('a dead proxy, one that gives no connection, and a mute one fail all waiting requests at once', async () => {
  const refusing = await startProxy();
  await refusing[Symbol.asyncDispose]();
  await using giving502 = await startProxy({ connectStatus: 502 });
  await using mute = await startProxy({ connectStatus: undefined });
  for (const [proxy, message] of [
    [refusing, /proxy .* cannot be reached/],
    [giving502, /no connection to target\.invalid:443 \(status 502\)/],
    [mute, /does not answer/],
  ] as const) {
    await using http1 = client({ HTTPS_PROXY: proxy.url }, 100);
    const requests = Array.from({ length: 100 }, () => http1.getBytes('https://target.invalid/', MAX));
    for (const result of await Promise.allSettled(requests)) {
      assert.equal(result.status, 'rejected');
      assert.match(String(result.reason), message);
      assert.equal(result.reason.failure, 'host-down');
    }
    assert.ok(proxy.seen.length <= 1);
  }
});

interface ProxyOptions {
  readonly tls?: SelfMadeAuthority;
  readonly password?: string;
  /** Answer to CONNECT; undefined keeps silent. */
  readonly connectStatus?: number | undefined;
  /** The port to connect to instead. */
  readonly resolve?: () => number;
}

interface Proxy extends AsyncDisposable {
  readonly url: string;
  readonly seen: string[];
}

/** A forward proxy to 127.0.0.1. */
async function startProxy(options: ProxyOptions = {}): Promise<Proxy> {
  const seen: string[] = [];
  const sockets = new Set<net.Socket>();
  const expected = options.password && `Basic ${Buffer.from(options.password).toString('base64')}`;
  const server = options.tls === undefined ? http.createServer() : https.createServer(options.tls);
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
  });
  server.on('request', (request, response) => {
    seen.push(`${request.method} ${request.url}`);
    if (expected !== undefined && request.headers['proxy-authorization'] !== expected) {
      response.writeHead(407).end();
      return;
    }
    const { 'proxy-authorization': _, ...headers } = request.headers;
    http
      .get(request.url ?? '', { headers }, (answer) => {
        response.writeHead(answer.statusCode ?? 500, answer.headers);
        answer.pipe(response);
      })
      .on('error', () => response.destroy());
  });
  server.on('connect', (request: http.IncomingMessage, socket: net.Socket) => {
    seen.push(`CONNECT ${request.url}`);
    const status = 'connectStatus' in options ? options.connectStatus : 200;
    if (status === undefined) return;
    const isAllowed = expected === undefined || request.headers['proxy-authorization'] === expected;
    if (!isAllowed || status !== 200) {
      socket.end(`HTTP/1.1 ${isAllowed ? status : 407} No\r\n\r\n`);
      return;
    }
    const port = options.resolve?.() ?? Number(/:(\d+)$/.exec(request.url ?? '')?.[1]);
    const onward = net.connect(port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      onward.pipe(socket).pipe(onward);
    });
    onward.on('error', () => socket.destroy());
    socket.on('close', () => onward.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `${options.tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    seen,
    async [Symbol.asyncDispose]() {
      if (!server.listening) return;
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
