// Garbage by the hundred thousand against a caching proxy that listens: methods, names, header fields, bodies, bytes that are no HTTP.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdir, readFile, stat } from 'node:fs/promises';
import { connect } from 'node:net';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { mapConcurrent } from '../src/base/concurrency.ts';
import { formatPublicKey, hashPartOf, publicKeyOf } from '../src/nix/index.ts';
import { makeFakePath } from './support/fake-paths.ts';
import { nixferryCommand } from './support/nixferry.ts';
import { UPSTREAM_KEY, writeCache } from './support/proxied-mirror.ts';
import { makeRandom, type Random } from './support/random.ts';
import { start, toolEnvironment } from './support/run.ts';
import { makeTempDir } from './support/temp-dir.ts';
import { startUnreliableServer } from './support/unreliable-server.ts';

/** NIXFERRY_FUZZ_REQUESTS asks for more. */
const REQUESTS = Number(process.env['NIXFERRY_FUZZ_REQUESTS'] ?? 100_000);
const CONNECTIONS = 40;
const GROWTH_MB = 48;

test(`${REQUESTS} requests of garbage: no 5xx, no crash, no growth, nothing written`, async (context) => {
  await using temp = await makeTempDir('proxy-fuzz');
  const probed = await makeFakePath('probed');
  await writeCache(temp.join('upstream'), [probed]);
  await using upstream = await startUnreliableServer({ directory: temp.join('upstream') });
  const mirror = temp.join('mirror');
  const key = formatPublicKey(publicKeyOf(UPSTREAM_KEY));
  const flags = ['--upstream', upstream.url, '--trusted-public-key', key, '--workers', '1', '--listen', '127.0.0.1:0'];
  await using server = start(nixferryCommand, ['serve', '--mirror', mirror, ...flags], { env: toolEnvironment() });
  const [, port = ''] = await server.waitForOutput(/on http:\/\/127\.0\.0\.1:(\d+)/);
  const pid = server.child.pid ?? 0;
  const before = await describeFolder(mirror);

  let memoryBefore: readonly number[] = [];
  let answers = 0;
  const random = makeRandom(20_261_128);
  const one = async (_: unknown, index: number): Promise<void> => {
    if (index === REQUESTS / 4) memoryBefore = await memoryMb(pid);
    const bytes = makeRequest(random, hashPartOf(probed.info.storePath));
    const answer = await exchange(Number(port), bytes);
    for (const [, status] of answer.matchAll(/^HTTP\/1\.1 (\d+)/gm)) {
      answers += 1;
      assert.ok(Number(status) < 500, `${JSON.stringify(bytes)}: ${answer}`);
    }
  };
  await mapConcurrent(Array.from({ length: REQUESTS }), CONNECTIONS, one);

  assert.match(await exchange(Number(port), 'GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'), / 200 /);
  assert.ok(answers > REQUESTS / 2, `only ${answers} answers`);
  const memoryAfter = await memoryMb(pid);
  context.diagnostic(
    `${answers} answers; memory of server and fetcher in MB: ${memoryBefore} before, ${memoryAfter} after`,
  );
  for (const [index, megabytes] of memoryAfter.entries()) {
    assert.ok(megabytes < (memoryBefore[index] ?? 0) + GROWTH_MB, `${memoryBefore} → ${memoryAfter} MB`);
  }
  assert.deepEqual(await describeFolder(mirror), before);
  for (const folder of ['partial', 'held']) {
    assert.deepEqual(await readdir(path.join(mirror, '.nixferry/proxy', folder)), []);
  }
  assert.equal(upstream.requests.filter(({ method }) => method !== 'GET').length, 0);
  assert.equal(server.child.exitCode, null);
});

/** Everything that clients could see, with sizes and times. */
async function describeFolder(folder: string): Promise<string[]> {
  const names = (await readdir(folder, { recursive: true })).filter((name) => !name.startsWith('.nixferry')).toSorted();
  return Promise.all(
    names.map(async (name) => {
      const { size, mtimeMs } = await stat(path.join(folder, name));
      return `${name} ${size} ${mtimeMs}`;
    }),
  );
}

/** Of the server and of its fetcher. */
async function memoryMb(pid: number): Promise<readonly number[]> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
  const pids = [pid, ...children.trim().split(' ').map(Number)];
  return Promise.all(
    pids.map(async (one) => {
      const status = await readFile(`/proc/${one}/status`, 'utf8');
      return Math.round(Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) / 1000);
    }),
  );
}

async function exchange(port: number, bytes: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  await once(socket, 'connect');
  socket.end(Buffer.from(bytes, 'latin1'));
  return text(socket).catch(() => '');
}

function makeRequest(random: Random, hashPart: string): string {
  const pick = <Item>(items: readonly Item[]): Item => items[Math.floor(random.next() * items.length)] as Item;
  const garbage = (most: number): string => {
    const length = Math.floor(random.next() * most);
    return String.fromCharCode(...Array.from({ length }, () => Math.floor(random.next() * 256)));
  };
  if (random.next() < 0.1) return garbage(200);
  const nix32 = (length: number): string =>
    Array.from({ length }, () => pick([...'0123456789abcdfghijklmnpqrsvwxyz'])).join('');
  const piece = (): string =>
    pick<() => string>([
      () => pick(['/', '..', '.', '%2f', '%2e%2e', '%00', '%', '%zz', '\\', '//', '?', '#', '~', ';', '@', 'http://a']),
      () => pick(['nar/', 'log/', 'realisations/', 'build-trace-v2/', 'debuginfo/', 'hashed/', 'flakes/', 'channels/']),
      () =>
        pick([
          '.nixferry/',
          'keys/secret',
          'nix-cache-info',
          'readyz',
          'healthz',
          'sha256/',
          '.narinfo',
          '.ls',
          '.nar',
        ]),
      () => nix32(pick([31, 32, 33, 52])),
      () => `${nix32(52)}.nar${pick(['', '.xz', '.zst', '.bz2'])}`,
      () => `${nix32(32)}-${pick(['0', '1', 'z'])}${nix32(51)}.nar${pick(['', '.xz'])}`,
      () => `${pick([hashPart, nix32(32)])}.narinfo`,
      () => `${nix32(32)}-${pick(['hello', 'a.drv', 'x'.repeat(250)])}`,
      () => `sha256:${nix32(52)}!out.doi`,
      () => garbage(12).replaceAll(/[\r\n ]/g, ''),
    ])();
  const name = `/${Array.from({ length: 1 + Math.floor(random.next() * 4) }, piece).join('')}`;
  const method = pick([
    'GET',
    'GET',
    'GET',
    'GET',
    'HEAD',
    'HEAD',
    'POST',
    'PUT',
    'DELETE',
    'OPTIONS',
    'PURGE',
    'CONNECT',
    'get',
    'TRACE',
  ]);
  const field = (): string =>
    pick<() => string>([
      () =>
        `Range: ${pick(['bytes=', 'bytes=0-', 'bytes=-1', 'bytes=5-2', 'bytes=999999999999999999-', 'lines=1-2', 'bytes=0-0,2-3'])}`,
      () => `If-None-Match: ${pick(['*', '"x"', 'W/"y"', ','])}`,
      () => `If-Range: ${pick(['"x"', 'Mon, 01 Jan 2024 00:00:00 GMT', ''])}`,
      () => `Accept-Encoding: ${pick(['gzip', 'br;q=0', '*', 'identity;q=0'])}`,
      () => `Host: ${pick(['b', 'tarballs.nixos.org', ']', ''])}`,
      () => `Expect: ${pick(['100-continue', 'nonsense'])}`,
      () => `Transfer-Encoding: ${pick(['chunked', 'gzip', 'chunked, chunked'])}`,
      () => `Content-Length: ${pick(['0', '5', '-1', '99999999999999', 'x'])}`,
      () => `Upgrade: ${pick(['websocket', 'h2c'])}\r\nConnection: upgrade`,
      () => `Content-Encoding: ${pick(['gzip', 'zstd'])}`,
      () => `X-${nix32(5)}: ${garbage(30).replaceAll(/[\r\n]/g, '')}`,
      () => `${garbage(10).replaceAll(/[\r\n]/g, '')}: x`,
      () => `X: ${'y'.repeat(pick([10, 1000, 5000]))}`,
    ])();
  const fields = Array.from({ length: Math.floor(random.next() * 3) }, field);
  const body = random.next() < 0.15 ? garbage(60) : '';
  const version = random.next() < 0.95 ? 'HTTP/1.1' : pick(['HTTP/1.0', 'HTTP/9.9', 'HTP/1.1', '']);
  return `${method} ${name} ${version}\r\n${['Host: a', 'Connection: close', ...fields].join('\r\n')}\r\n\r\n${body}`;
}
