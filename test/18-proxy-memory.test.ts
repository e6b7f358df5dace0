// What a caching proxy needs of memory when many clients ask at once for large paths that are not here yet, and some of them read slowly: not more for more clients, or for larger paths.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { get, type IncomingMessage } from 'node:http';
import { after, before, suite, test } from 'node:test';
import {
  formatPublicKey,
  type Hash,
  hashFromDigest,
  hashPartOf,
  type NarInfo,
  parseNarInfo,
  publicKeyOf,
} from '../src/nix/index.ts';
import { makeFakePath } from './support/fake-paths.ts';
import { nixferryCommand } from './support/nixferry.ts';
import { UPSTREAM_KEY, writeCache } from './support/proxied-mirror.ts';
import { type RunningProcess, start, toolEnvironment } from './support/run.ts';
import { makeTempDir, type TempDir } from './support/temp-dir.ts';
import { startUnreliableServer, type UnreliableServer } from './support/unreliable-server.ts';

const CLIENTS = 50;
/** Every so many clients, one reads a little, and the rest only when all others are done. */
const ONE_SLOW_IN = 3;
const ONE_BYTES = 64_000_000;
const EACH_BYTES = 12_000_000;
/** Of each process. Together the clients are sent 3 GB and 500 MB; started and idle, a process has 110 MB. */
const MOST_MB = 320;

suite('the memory of a caching proxy', () => {
  const cleanUp = new AsyncDisposableStack();
  let temp: TempDir;
  let upstream: UnreliableServer;
  const wanted: NarInfo[] = [];

  before(async () => {
    temp = cleanUp.use(await makeTempDir('proxy-memory'));
    for (let index = 0; index <= CLIENTS; index++) {
      const isOne = index === 0;
      // Random bytes: as large compressed as not. What is in xz takes long to make.
      const compression = isOne || index % 2 === 0 ? 'zstd' : index % 10 === 1 ? 'xz' : 'none';
      const contents = randomBytes(isOne ? ONE_BYTES : compression === 'xz' ? EACH_BYTES / 2 : EACH_BYTES);
      const fake = await makeFakePath(`large-${index}`, { contents, compression });
      await writeCache(temp.join('upstream'), [fake]);
      wanted.push(fake.info);
    }
    upstream = cleanUp.use(await startUnreliableServer({ directory: temp.join('upstream') }));
  });
  after(() => cleanUp.disposeAsync());

  const scenes = [
    { name: `${CLIENTS} clients that want one path`, pathOf: () => wanted[0] },
    { name: `${CLIENTS} clients that want a path each`, pathOf: (client: number) => wanted[client + 1] },
  ];
  for (const [index, { name, pathOf }] of scenes.entries()) {
    test(`stays bounded with ${name}`, async (context) => {
      await using proxy = await startProxy(temp.join(`mirror-${index}`), upstream);
      const idle = await memoryMb(proxy.server, 'VmRSS');
      const othersDone = Promise.withResolvers<void>();
      let others = 0;
      const one = async (client: number): Promise<void> => {
        const info = pathOf(client);
        assert.ok(info !== undefined);
        const isSlow = client % ONE_SLOW_IN === 0;
        if (!isSlow) others += 1;
        const { url } = parseNarInfo(
          await (await fetch(`${proxy.url}/${hashPartOf(info.storePath)}.narinfo`)).text(),
          '/nix/store',
        );
        const hash = await hashOf(`${proxy.url}/${url}`, isSlow ? othersDone.promise : undefined);
        assert.equal(hash, info.fileHash);
        if (!isSlow && --others === 0) othersDone.resolve();
      };
      await Promise.all(Array.from({ length: CLIENTS }, (_, client) => one(client)));
      const most = await memoryMb(proxy.server, 'VmHWM');
      const now = await memoryMb(proxy.server, 'VmRSS');
      context.diagnostic(`memory of server and fetcher in MB: ${idle} idle, ${most} at most, ${now} afterwards`);
      for (const megabytes of most) assert.ok(megabytes < MOST_MB, `${most} MB`);
    });
  }
});

interface Proxy extends AsyncDisposable {
  readonly url: string;
  readonly server: RunningProcess;
}

async function startProxy(mirror: string, upstream: UnreliableServer): Promise<Proxy> {
  const key = formatPublicKey(publicKeyOf(UPSTREAM_KEY));
  const flags = ['--upstream', upstream.url, '--trusted-public-key', key, '--workers', '1', '--listen', '127.0.0.1:0'];
  const server = start(nixferryCommand, ['serve', '--mirror', mirror, ...flags], { env: toolEnvironment() });
  const [, url = ''] = await server.waitForOutput(/on (http:\/\/127\.0\.0\.1:\d+)/);
  return { url, server, [Symbol.asyncDispose]: server[Symbol.asyncDispose] };
}

/** Of the whole body; what was not whole has another. From the first piece on, nothing is read before `until`. */
async function hashOf(url: string, until: Promise<void> | undefined): Promise<Hash> {
  const request = get(url, { agent: false });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  assert.equal(response.statusCode, 200);
  const digest = createHash('sha256');
  let waits = until;
  for await (const piece of response as AsyncIterable<Buffer>) {
    digest.update(piece);
    await waits;
    waits = undefined;
  }
  return hashFromDigest('sha256', digest.digest());
}

/** Of the server and of its fetcher. */
async function memoryMb({ child: { pid = 0 } }: RunningProcess, field: 'VmRSS' | 'VmHWM'): Promise<readonly number[]> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
  const pids = [pid, ...children.trim().split(' ').map(Number)];
  return Promise.all(
    pids.map(async (one) => {
      const status = await readFile(`/proc/${one}/status`, 'utf8');
      return Math.round(Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) / 1000);
    }),
  );
}
