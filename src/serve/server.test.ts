import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readlink } from 'node:fs/promises';
import { Agent, get, type IncomingMessage } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';
import pino from 'pino';
import { makeMirror } from './mirror-fixture.test.ts';
import { type RunningServer, startServer } from './server.ts';

const LISTEN = '127.0.0.1:0';
const BIG_BYTES = 32 * 1024 * 1024;

async function ask(url: string, agent?: Agent): Promise<IncomingMessage> {
  const [response] = (await once(get(url, { agent }), 'response')) as [IncomingMessage];
  return response;
}

async function openFiles(directory: string): Promise<string[]> {
  const links = (await readdir('/proc/self/fd')).map((fd) => readlink(join('/proc/self/fd', fd)).catch(() => ''));
  return (await Promise.all(links)).filter((path) => path.startsWith(directory));
}

async function eventually(description: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + 10_000;
  while (!(await holds())) {
    assert.ok(performance.now() < deadlineMs, description);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function stopNow(server: RunningServer): Promise<void> {
  await server.close({ now: true });
}

test('startServer prints the real port when it is asked for any, and serves over IPv4 and IPv6', async () => {
  await using mirror = await makeMirror();
  for (const listen of [LISTEN, '[::1]:0', ':0']) {
    const server = await startServer({ mirrorDirectory: mirror.directory, listen, workers: 1 });
    assert.match(server.url, new RegExp(`:${server.port}$`));
    assert.equal((await fetch(`${server.url}/nix-cache-info`)).status, 200, listen);
    await stopNow(server);
  }
});

test('startServer throws address-in-use when somebody listens there', async () => {
  await using mirror = await makeMirror();
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const listen = `127.0.0.1:${(other.address() as AddressInfo).port}`;
  for (const workers of [1, 2]) {
    await assert.rejects(startServer({ mirrorDirectory: mirror.directory, listen, workers }), {
      code: 'address-in-use',
    });
  }
  other.close();
});

test('startServer throws not-a-mirror when the folder is none, and usage for impossible options', async () => {
  await using mirror = await makeMirror();
  const mirrorDirectory = mirror.directory;
  const none = [join(mirrorDirectory, 'nar'), join(mirrorDirectory, 'absent'), join(mirrorDirectory, 'nix-cache-info')];
  for (const directory of none) {
    await assert.rejects(startServer({ mirrorDirectory: directory, listen: LISTEN, workers: 1 }), {
      code: 'not-a-mirror',
    });
  }
  await assert.rejects(startServer({ mirrorDirectory, listen: LISTEN, workers: 0 }), { code: 'usage' });
  await assert.rejects(startServer({ mirrorDirectory, listen: LISTEN, workers: 1.5 }), { code: 'usage' });
  await assert.rejects(startServer({ mirrorDirectory, listen: LISTEN, priority: -1 }), { code: 'usage' });
  await assert.rejects(startServer({ mirrorDirectory, listen: 'nonsense' }), { code: 'usage' });
  await mirror.write('.nixferry/mirror.json', '{"format":999}');
  await assert.rejects(startServer({ mirrorDirectory, listen: LISTEN, workers: 1 }), { code: 'newer-format' });
});

test('startServer sends a large NAR whole, and closes the file when a client goes away', async () => {
  await using mirror = await makeMirror();
  const { info, file } = await mirror.addPath(Buffer.alloc(BIG_BYTES, 'nixferry'), { compression: 'none' });
  const server = await startServer({ mirrorDirectory: mirror.directory, listen: LISTEN, workers: 1 });
  const whole = await ask(`${server.url}/${info.url}`);
  assert.ok((await buffer(whole)).equals(file));
  const leaving = await ask(`${server.url}/${info.url}`);
  await once(leaving, 'data');
  assert.equal((await openFiles(mirror.directory)).length, 1);
  leaving.destroy();
  await eventually('the file is closed', async () => (await openFiles(mirror.directory)).length === 0);
  await stopNow(server);
});

test('close lets a running transfer finish, refuses new connections, and does not wait for idle ones', async () => {
  await using mirror = await makeMirror();
  const { info, file } = await mirror.addPath(Buffer.alloc(BIG_BYTES, 'nixferry'), { compression: 'none' });
  const server = await startServer({ mirrorDirectory: mirror.directory, listen: LISTEN, workers: 1 });
  const agent = new Agent({ keepAlive: true });
  await buffer(await ask(`${server.url}/nix-cache-info`, agent));
  const busy = await ask(`${server.url}/${info.url}`, agent);
  await once(busy, 'data', { signal: AbortSignal.timeout(5000) });
  busy.pause();
  const rest: Buffer[] = [];
  const closing = server.close();
  await assert.rejects(ask(`${server.url}/nix-cache-info`), { code: 'ECONNREFUSED' });
  busy.on('data', (chunk: Buffer) => rest.push(chunk));
  busy.resume();
  await once(busy, 'end');
  await closing;
  await server.closed;
  // The first chunk was taken by once().
  const restBytes = rest.reduce((sum, chunk) => sum + chunk.length, 0);
  assert.ok(restBytes > file.length - 1024 * 1024 && restBytes < file.length);
  agent.destroy();
});

test('close breaks transfers off when the grace time is over, or at once when now is asked for', async () => {
  await using mirror = await makeMirror();
  const { info } = await mirror.addPath(Buffer.alloc(BIG_BYTES, 'nixferry'), { compression: 'none' });
  for (const now of [false, true]) {
    const shutdownGraceMs = now ? 60_000 : 20;
    const server = await startServer({
      mirrorDirectory: mirror.directory,
      listen: LISTEN,
      workers: 1,
      shutdownGraceMs,
    });
    const stuck = await ask(`${server.url}/${info.url}`);
    const closing = server.close();
    if (now) await server.close({ now });
    await closing;
    await assert.rejects(buffer(stuck), { code: 'ECONNRESET' });
  }
});

test('an abort of the signal stops the server', async () => {
  await using mirror = await makeMirror();
  const controller = new AbortController();
  const { signal } = controller;
  const server = await startServer({ mirrorDirectory: mirror.directory, listen: LISTEN, workers: 1, signal });
  controller.abort();
  await server.closed;
  await assert.rejects(ask(server.url), { code: 'ECONNREFUSED' });
});

test('several workers answer on one port, one that dies is replaced, and close stops all', async () => {
  await using mirror = await makeMirror();
  const log: { msg: string; worker?: number }[] = [];
  const logger = pino({ level: 'info' }, { write: (line) => void log.push(JSON.parse(line)) });
  const server = await startServer({ mirrorDirectory: mirror.directory, listen: LISTEN, workers: 2, logger });
  assert.equal((await fetch(`${server.url}/nix-cache-info`)).status, 200);
  const { default: cluster } = await import('node:cluster');
  const before = new Set(Object.keys(cluster.workers ?? {}));
  assert.equal(before.size, 2);
  const [victim] = Object.values(cluster.workers ?? {});
  victim?.process.kill('SIGKILL');
  await eventually('a third worker runs', () => Object.keys(cluster.workers ?? {}).some((id) => !before.has(id)));
  assert.ok(log.some(({ msg, worker }) => msg.startsWith('worker died') && worker === victim?.process.pid));
  const answers = await Promise.all(Array.from({ length: 20 }, () => fetch(`${server.url}/healthz`)));
  assert.ok(answers.every(({ status }) => status === 200));
  await server.close();
  assert.deepEqual(Object.keys(cluster.workers ?? {}), []);
  await assert.rejects(ask(server.url), { code: 'ECONNREFUSED' });
});

test('workers stop by themselves when the process that started them is killed', async () => {
  await using mirror = await makeMirror();
  const script = `import { startServer } from ${JSON.stringify(new URL('./server.ts', import.meta.url).href)};
    const server = await startServer({ mirrorDirectory: ${JSON.stringify(mirror.directory)}, listen: '${LISTEN}', workers: 2 });
    console.log(server.url);`;
  await mirror.write('.nixferry/primary.mjs', script);
  const program = join(mirror.directory, '.nixferry', 'primary.mjs');
  const primary = spawn(process.execPath, [program], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(primary.stdout, 'data')) as [Buffer];
  const url = line.toString().trim();
  assert.equal((await fetch(`${url}/healthz`, { headers: { connection: 'close' } })).status, 200);
  primary.kill('SIGKILL');
  await eventually('nobody listens', () =>
    ask(url).then(
      () => false,
      () => true,
    ),
  );
  // The workers hold the pipe too: it ends with the last of them.
  if (!primary.stdout.readableEnded) await once(primary.stdout.resume(), 'end');
});

test('several workers let a running transfer finish when the server is closed', async () => {
  await using mirror = await makeMirror();
  const { info, file } = await mirror.addPath(Buffer.alloc(BIG_BYTES, 'nixferry'), { compression: 'none' });
  const server = await startServer({ mirrorDirectory: mirror.directory, listen: LISTEN, workers: 2 });
  const response = await ask(`${server.url}/${info.url}`);
  const closing = server.close();
  assert.ok((await buffer(response)).equals(file));
  await closing;
});
