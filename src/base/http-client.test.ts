import assert from 'node:assert/strict';
import net, { type AddressInfo } from 'node:net';
import { test } from 'node:test';
import zlib from 'node:zlib';
import { instantClock } from '../../test/support/instant-clock.ts';
import { startUnreliableServer } from '../../test/support/unreliable-server.ts';
import type { Clock } from './clock.ts';
import { createHttpClient, type HttpClientOptions, HttpError, isBrokenTransfer } from './http-client.ts';
import { LIMITS } from './limits.ts';

const MAX = { maxBytes: 1000 };
const hello = (path: string) => (path.startsWith('/missing') ? undefined : { body: `hello from ${path}` });

function client(options: HttpClientOptions = {}) {
  return createHttpClient({ environment: {}, clock: instantClock(), ...options });
}

function failsWith(failure: string, message = /./) {
  return (error: unknown): boolean => {
    assert.ok(error instanceof HttpError, String(error));
    assert.equal(error.failure, failure);
    assert.match(error.message, message);
    return true;
  };
}

test('getBytes gives the body, and says who we are', async () => {
  await using server = await startUnreliableServer({ respond: hello });
  await using http = client({ userAgent: 'nixferry/1' });
  const { status, bytes } = await http.getBytes(`${server.url}/a?b=c`, MAX);
  assert.equal(status, 200);
  assert.equal(bytes.toString(), 'hello from /a?b=c');
  assert.equal(server.requests[0]?.headers['user-agent'], 'nixferry/1');
});

test('getBytes throws on a status that is not accepted, and gives it without a body when it is', async () => {
  await using server = await startUnreliableServer({ respond: hello });
  await using http = client();
  await assert.rejects(http.getBytes(`${server.url}/missing`, MAX), failsWith('status', /404/));
  const { status, bytes } = await http.getBytes(`${server.url}/missing`, { ...MAX, accept: [404] });
  assert.deepEqual([status, bytes.length], [404, 0]);
});

test('getBytes asks again when the server is in trouble, with growing waits', async () => {
  await using server = await startUnreliableServer({ respond: hello });
  const clock = instantClock();
  await using http = client({ clock, random: () => 0 });
  server.misbehave({ path: /a/, times: 3, fault: { kind: 'status', status: 503 } });
  assert.equal((await http.getBytes(`${server.url}/a`, MAX)).bytes.toString(), 'hello from /a');
  assert.equal(server.count(/a/), 4);
  assert.deepEqual(clock.sleptMs, [125, 250, 500]);
});

test('getBytes gives up after all attempts, and at once on a verdict', async () => {
  await using server = await startUnreliableServer();
  await using http = client();
  server.misbehave({ path: /a/, fault: { kind: 'status', status: 500 } });
  server.misbehave({ path: /b/, fault: { kind: 'status', status: 501 } });
  await assert.rejects(http.getBytes(`${server.url}/a`, MAX), failsWith('status', /500/));
  await assert.rejects(http.getBytes(`${server.url}/b`, MAX), failsWith('status', /501/));
  assert.equal(server.count(/a/), LIMITS.httpAttempts);
  assert.equal(server.count(/b/), 1);
});

test('getBytes waits as long as Retry-After asks, within bounds', async () => {
  await using server = await startUnreliableServer({ respond: hello });
  const clock = instantClock();
  await using http = client({ clock, random: () => 0 });
  server.misbehave({ path: /a/, times: 1, fault: { kind: 'status', status: 429, retryAfter: '7' } });
  await http.getBytes(`${server.url}/a`, MAX);
  assert.equal(clock.sleptMs[0], 7000);
  server.misbehave({ path: /b/, times: 1, fault: { kind: 'status', status: 503, retryAfter: '86400' } });
  await http.getBytes(`${server.url}/b`, MAX);
  assert.ok(clock.sleptMs.includes(LIMITS.retryCeilingMs));
  server.misbehave({
    path: /c/,
    times: 1,
    fault: { kind: 'status', status: 429, retryAfter: new Date(clock.wallClockMs() + 20_000).toUTCString() },
  });
  await http.getBytes(`${server.url}/c`, MAX);
  const last = clock.sleptMs.findLast((sleptMs) => sleptMs > 15_000) ?? 0;
  assert.ok(last > 18_000 && last <= 20_000, String(last));
});

test('getBytes keeps other requests away from a host that has asked for it by Retry-After', async () => {
  await using server = await startUnreliableServer({ respond: hello });
  const sleeps: { durationMs: number; wake: () => void }[] = [];
  let nowMs = 0;
  const clock: Clock = {
    nowMs: () => nowMs,
    wallClockMs: () => nowMs,
    sleep: (durationMs) => new Promise((resolve) => sleeps.push({ durationMs, wake: resolve })),
  };
  const sleepers = async (count: number): Promise<void> => {
    while (sleeps.length < count) await new Promise((resolve) => setImmediate(resolve));
  };
  await using http = client({ clock, random: () => 0 });
  server.misbehave({ path: /a/, times: 1, fault: { kind: 'status', status: 429, retryAfter: '7' } });
  const first = http.getBytes(`${server.url}/a`, MAX);
  await sleepers(1);
  const second = http.getBytes(`${server.url}/b`, MAX);
  await sleepers(2);
  assert.deepEqual(
    sleeps.map(({ durationMs }) => durationMs),
    [7000, 7000],
  );
  assert.equal(server.count(/b/), 0);
  nowMs += 7000;
  for (const { wake } of sleeps) wake();
  assert.deepEqual([(await first).status, (await second).status], [200, 200]);
});

test('getBytes asks again when the connection breaks before or within the body', async () => {
  await using server = await startUnreliableServer({ respond: hello });
  await using http = client();
  server.misbehave({ path: /a/, times: 2, fault: { kind: 'hang-up' } });
  server.misbehave({ path: /b/, times: 2, fault: { kind: 'break', afterBytes: 3 } });
  server.misbehave({ path: /c/, times: 1, fault: { kind: 'lie', byBytes: 5 } });
  for (const path of ['/a', '/b', '/c']) {
    assert.equal((await http.getBytes(server.url + path, MAX)).bytes.toString(), `hello from ${path}`);
  }
  assert.deepEqual([server.count(/a/), server.count(/b/), server.count(/c/)], [3, 3, 2]);
});

test('getBytes refuses a body beyond the bound, announced or not', async () => {
  await using server = await startUnreliableServer({ respond: () => ({ body: 'x'.repeat(5000) }) });
  await using http = client();
  await assert.rejects(http.getBytes(`${server.url}/a`, MAX), failsWith('too-large'));
  server.misbehave({ path: /b/, fault: { kind: 'truncate', afterBytes: 4000 } });
  await assert.rejects(http.getBytes(`${server.url}/b`, MAX), failsWith('too-large'));
});

test('getBytes undoes the encodings in which caches keep small files, within the bound', async () => {
  const text = 'hello '.repeat(100);
  const encoded: Record<string, Buffer> = {
    '/gzip': zlib.gzipSync(text),
    '/br': zlib.brotliCompressSync(text),
    '/zstd': zlib.zstdCompressSync(text),
    '/identity': Buffer.from(text),
  };
  await using server = await startUnreliableServer({
    respond: (path) => ({ body: encoded[path] ?? '', headers: { 'content-encoding': path.slice(1) } }),
  });
  await using http = client();
  for (const path of Object.keys(encoded)) {
    assert.equal((await http.getBytes(server.url + path, MAX)).bytes.toString(), text, path);
  }
  await assert.rejects(http.getBytes(`${server.url}/gzip`, { maxBytes: 100 }), { code: 'damage' });
  await assert.rejects(http.getBytes(`${server.url}/rot13`, MAX), failsWith('refused'));
});

test('get reports a stall before the head and within the body', async () => {
  await using server = await startUnreliableServer({ respond: hello });
  await using http = client({ stallTimeoutMs: 60, attempts: 2 });
  await http.getBytes(`${server.url}/fine`, MAX);
  server.misbehave({ path: /head/, fault: { kind: 'stall' } });
  server.misbehave({ path: /body/, fault: { kind: 'stall', afterBytes: 4 } });
  await assert.rejects(http.get(`${server.url}/head`), failsWith('stalled'));
  assert.equal(server.count(/head/), 2);
  const { body } = await http.get(`${server.url}/body`);
  await assert.rejects(
    Array.fromAsync(body),
    (error) => isBrokenTransfer(error) && /after 4 bytes/.test(String(error)),
  );
});

test('get does not take a trickle for a transfer, nor a slow reader for a stall', async () => {
  await using server = await startUnreliableServer({ respond: () => ({ body: 'x'.repeat(200_000) }) });
  await using http = client({ stallTimeoutMs: 80 });
  server.misbehave({ path: /trickle/, fault: { kind: 'trickle', everyMs: 5 } });
  const trickle = await http.get(`${server.url}/trickle`);
  await assert.rejects(Array.fromAsync(trickle.body), failsWith('stalled'));
  const { body } = await http.get(`${server.url}/fine`);
  let sizeBytes = 0;
  for await (const chunk of body) {
    // Slower than the stall timeout, which must not count.
    if (sizeBytes === 0) await new Promise((resolve) => setTimeout(resolve, 120));
    sizeBytes += chunk.length;
  }
  assert.equal(sizeBytes, 200_000);
});

test('getBytes bounds the time for a whole body when asked to', async () => {
  await using server = await startUnreliableServer({ respond: () => ({ body: 'x'.repeat(900) }) });
  await using http = client({ attempts: 1 });
  server.misbehave({ path: /a/, fault: { kind: 'trickle', everyMs: 2 } });
  await assert.rejects(http.getBytes(`${server.url}/a`, { ...MAX, bodyTimeoutMs: 50 }), failsWith('stalled'));
});

test('get asks for a range and says what came', async () => {
  await using server = await startUnreliableServer({ respond: hello });
  await using http = client();
  const { status, headers, body } = await http.get(`${server.url}/a`, { rangeStart: 6 });
  assert.deepEqual([status, headers['content-range']], [206, 'bytes 6-12/13']);
  assert.equal(Buffer.concat(await Array.fromAsync(body)).toString(), 'from /a');
  await assert.rejects(http.get(`${server.url}/a`, { rangeStart: 99 }), failsWith('status', /416/));
});

test('get follows redirects, relative ones too, and keeps the range', async () => {
  await using server = await startUnreliableServer({ respond: hello });
  await using http = client();
  server.misbehave({ path: /one/, fault: { kind: 'redirect', location: 'two?x=y', status: 307 } });
  server.misbehave({ path: /two/, fault: { kind: 'redirect', location: `${server.url}/three`, status: 301 } });
  const { url, body } = await http.get(`${server.url}/one`, { rangeStart: 6 });
  assert.equal(url.href, `${server.url}/three`);
  assert.equal(Buffer.concat(await Array.fromAsync(body)).toString(), 'from /three');
  assert.deepEqual(
    server.requests.map(({ path }) => path),
    ['/one', '/two?x=y', '/three'],
  );
});

test('get refuses redirects in circles and away from HTTP', async () => {
  await using server = await startUnreliableServer({ respond: hello });
  await using http = client();
  server.misbehave({ path: /circle/, fault: { kind: 'redirect', location: '/circle' } });
  server.misbehave({ path: /file/, fault: { kind: 'redirect', location: 'file:///etc/passwd' } });
  await assert.rejects(http.get(`${server.url}/circle`), failsWith('redirect', /more than/));
  assert.equal(server.count(/circle/), LIMITS.httpRedirects + 1);
  await assert.rejects(http.get(`${server.url}/file`), failsWith('redirect'));
});

test('get refuses addresses of other kinds', async () => {
  await using http = client();
  await assert.rejects(http.get('file:///etc/passwd'), failsWith('refused'));
  await assert.rejects(http.get('nonsense me:secret@'), (error: Error) => !error.message.includes('secret'));
});

test('get rejects with the reason of the signal at every stage', async () => {
  await using server = await startUnreliableServer({ respond: hello });
  const http = createHttpClient({ environment: {} });
  await using _ = http;
  const reason = new Error('enough');
  const abortSoon = () => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(reason), 20);
    return controller.signal;
  };
  await http.getBytes(`${server.url}/fine`, MAX);
  await assert.rejects(http.get(`${server.url}/x`, { signal: AbortSignal.abort(reason) }), reason);
  server.misbehave({ path: /head/, fault: { kind: 'stall' } });
  await assert.rejects(http.get(`${server.url}/head`, { signal: abortSoon() }), reason);
  server.misbehave({ path: /body/, fault: { kind: 'stall', afterBytes: 3 } });
  await assert.rejects(http.getBytes(`${server.url}/body`, { ...MAX, signal: abortSoon() }), reason);
  server.misbehave({ path: /wait/, fault: { kind: 'status', status: 429, retryAfter: '50' } });
  await assert.rejects(http.get(`${server.url}/wait`, { signal: abortSoon() }), reason);
  await assert.rejects(http.get(`${server.url}/fine`, { signal: abortSoon() }), reason);
});

test('get leaves no listener on the signal behind, and no warning', async () => {
  await using server = await startUnreliableServer({ respond: hello });
  await using http = client();
  const warnings: string[] = [];
  const warn = (warning: Error): void => void warnings.push(warning.message);
  process.on('warning', warn);
  const controller = new AbortController();
  const counts = countListeners(controller.signal);
  await Promise.all(
    Array.from({ length: 300 }, (_, index) =>
      http.getBytes(`${server.url}/${index % 3 === 0 ? 'missing' : index}`, {
        ...MAX,
        accept: [404],
        signal: controller.signal,
      }),
    ),
  );
  const { body } = await http.get(`${server.url}/left`, { signal: controller.signal });
  for await (const _ of body) break;
  await new Promise((resolve) => setImmediate(resolve));
  process.off('warning', warn);
  assert.deepEqual(warnings, []);
  assert.ok(counts.added >= 301);
  assert.equal(counts.removed, counts.added);
});

test('get reuses connections, and opens no more of them than allowed', async () => {
  await using server = await startUnreliableServer({ respond: hello, latencyMs: 2 });
  await using http = client({ connectionsPerHost: 8 });
  await Promise.all(Array.from({ length: 200 }, (_, index) => http.getBytes(`${server.url}/${index}`, MAX)));
  assert.ok(server.connectionCount <= 8, String(server.connectionCount));
  assert.ok(server.mostAtOnce <= 8, String(server.mostAtOnce));
});

test('a host that refuses connections fails all requests at once, waiting ones too', async () => {
  const port = await unusedPort();
  const clock = instantClock();
  await using http = client({ clock });
  const results = await Promise.allSettled(
    Array.from({ length: 300 }, (_, index) => http.getBytes(`http://127.0.0.1:${port}/${index}`, MAX)),
  );
  for (const result of results) {
    assert.equal(result.status, 'rejected');
    failsWith('host-down', /refuses connections/)(result.reason);
  }
  assert.deepEqual(clock.sleptMs, []);
});

test('a host without a name fails all requests at once', async () => {
  await using http = client();
  const requests = Array.from({ length: 50 }, () => http.getBytes('http://nowhere.invalid/', MAX));
  for (const result of await Promise.allSettled(requests)) {
    assert.equal(result.status, 'rejected');
    failsWith('host-down', /name/)(result.reason);
  }
});

test('a host that swallows connections costs one connect timeout for hundreds of requests', async () => {
  await using blackHole = await startBlackHole();
  // TLS never completes there, and that belongs to connecting.
  await using http = client({ connectTimeoutMs: 150 });
  const beganMs = performance.now();
  const requests = Array.from({ length: 300 }, (_, index) => http.getBytes(`${blackHole.url}/${index}`, MAX));
  for (const result of await Promise.allSettled(requests)) {
    assert.equal(result.status, 'rejected');
    failsWith('host-down')(result.reason);
  }
  await assert.rejects(http.getBytes(`${blackHole.url}/later`, MAX), failsWith('host-down'));
  assert.ok(performance.now() - beganMs < 1500);
  assert.equal(blackHole.connections(), 1);
});

test('a host that accepts connections and never answers costs one stall', async () => {
  await using server = await startUnreliableServer();
  server.misbehave({ path: /./, fault: { kind: 'stall' } });
  await using http = client({ stallTimeoutMs: 100 });
  const requests = Array.from({ length: 100 }, () => http.getBytes(server.url, MAX));
  for (const result of await Promise.allSettled(requests)) {
    assert.equal(result.status, 'rejected');
    failsWith('host-down')(result.reason);
  }
  assert.equal(server.requests.length, 1);
});

test('a host that dies in the middle of the work fails everybody after one round of attempts', async () => {
  await using server = await startUnreliableServer({ respond: hello });
  const clock = instantClock();
  await using http = client({ clock });
  await http.getBytes(`${server.url}/fine`, MAX);
  await server.goDead();
  const requests = Array.from({ length: 100 }, (_, index) => http.getBytes(`${server.url}/${index}`, MAX));
  for (const result of await Promise.allSettled(requests)) {
    assert.equal(result.status, 'rejected');
    failsWith('host-down')(result.reason);
  }
  const sleepCount = clock.sleptMs.length;
  await assert.rejects(http.getBytes(`${server.url}/later`, MAX), failsWith('host-down'));
  assert.equal(clock.sleptMs.length, sleepCount);
});

test('a host that comes back is used again', async () => {
  await using server = await startUnreliableServer({ respond: hello });
  const clock = instantClock();
  await using http = client({ clock });
  await server.goDead();
  await assert.rejects(http.getBytes(`${server.url}/a`, MAX), failsWith('host-down'));
  await server.revive();
  await assert.rejects(http.getBytes(`${server.url}/a`, MAX), failsWith('host-down'));
  clock.advance(LIMITS.hostDownMs);
  assert.equal((await http.getBytes(`${server.url}/a`, MAX)).status, 200);
});

test('a server that answers what is not HTTP is an error of that request', async () => {
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.resume();
    socket.end('SSH-2.0-OpenSSH_9.2\r\n');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await using http = client({ attempts: 2 });
  await assert.rejects(http.getBytes(`http://127.0.0.1:${port}/`, MAX), failsWith('host-down', /broke/));
  await new Promise((resolve) => server.close(resolve));
});

interface ListenerCounts {
  added: number;
  removed: number;
}

/** Counts what comes and goes on a signal; a listener that has fired counts as gone. */
function countListeners(signal: AbortSignal): ListenerCounts {
  const counts: ListenerCounts = { added: 0, removed: 0 };
  const listeners = new Set<unknown>();
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = ((type: 'abort', listener: () => void, options?: { once?: boolean }) => {
    listeners.add(listener);
    counts.added += 1;
    add(type, listener, options);
  }) as typeof signal.addEventListener;
  signal.removeEventListener = ((type: 'abort', listener: () => void) => {
    if (listeners.delete(listener)) counts.removed += 1;
    remove(type, listener);
  }) as typeof signal.removeEventListener;
  return counts;
}

async function unusedPort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

interface BlackHole extends AsyncDisposable {
  readonly url: string;
  connections(): number;
}

/** Accepts connections and says nothing, ever; as an https address it never gets to be connected. */
async function startBlackHole(): Promise<BlackHole> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    sockets.add(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `https://127.0.0.1:${port}`,
    connections: () => sockets.size,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
