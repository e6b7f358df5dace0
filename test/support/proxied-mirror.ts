// A caching proxy in front of an upstream that fails on demand: paths that no Nix has built, signed by a key that the proxy trusts.

import assert from 'node:assert/strict';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pino from 'pino';
import { openMirror } from '../../src/mirror/mirror.ts';
import {
  formatNarInfo,
  formatPublicKey,
  generateSecretKey,
  hashPartOf,
  type NarInfo,
  parseNarInfo,
  publicKeyOf,
  type SecretKey,
  signNarInfo,
} from '../../src/nix/index.ts';
import type { ProxyOptions } from '../../src/proxy/protocol.ts';
import { type RunningServer, startServer } from '../../src/serve/server.ts';
import type { FakePath } from './fake-paths.ts';
import { makeTempDir, type TempDir } from './temp-dir.ts';
import { startUnreliableServer, type UnreliableServer, type UnreliableServerOptions } from './unreliable-server.ts';

export const UPSTREAM_KEY = generateSecretKey('upstream-1', Buffer.alloc(32, 7));

/** Writes paths as a binary cache into a folder. */
export async function writeCache(
  directory: string,
  paths: readonly FakePath[],
  options: { readonly key?: SecretKey; readonly change?: (info: NarInfo) => NarInfo } = {},
): Promise<void> {
  const { key = UPSTREAM_KEY, change = (info) => info } = options;
  await mkdir(path.join(directory, 'nar'), { recursive: true });
  await writeFile(path.join(directory, 'nix-cache-info'), 'StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 40\n');
  for (const { info, file } of paths) {
    await writeFile(path.join(directory, info.url), file);
    const text = formatNarInfo(change(signNarInfo(info, key)));
    await writeFile(path.join(directory, `${hashPartOf(info.storePath)}.narinfo`), text);
  }
}

export interface ProxiedMirror extends AsyncDisposable {
  readonly temp: TempDir;
  readonly upstream: UnreliableServer;
  readonly upstreamDirectory: string;
  readonly mirrorDirectory: string;
  readonly server: RunningServer;
  readonly log: string[];
  /** What a client gets of a name such as `/HASH.narinfo`. */
  ask(name: string, init?: RequestInit): Promise<Response>;
  /** Starts the server again, on the same port or another. */
  restart(changes?: Partial<ProxyOptions>): Promise<void>;
}

export interface ProxiedMirrorOptions {
  readonly paths?: readonly FakePath[];
  readonly change?: (info: NarInfo) => NarInfo;
  readonly upstream?: UnreliableServerOptions;
  readonly proxy?: Partial<ProxyOptions>;
  readonly workers?: number;
}

export async function openProxiedMirror(options: ProxiedMirrorOptions = {}): Promise<ProxiedMirror> {
  const temp = await makeTempDir('proxied');
  const upstreamDirectory = temp.join('upstream');
  const mirrorDirectory = temp.join('mirror');
  await writeCache(upstreamDirectory, options.paths ?? [], options.change === undefined ? {} : options);
  const upstream = await startUnreliableServer({ directory: upstreamDirectory, ...options.upstream });
  await (await openMirror(mirrorDirectory, { access: 'write', create: true, keyName: 'mirror-1' })).close();
  const log: string[] = [];
  const start = (changes: Partial<ProxyOptions> = {}): Promise<RunningServer> =>
    startServer({
      mirrorDirectory,
      listen: '127.0.0.1:0',
      workers: options.workers ?? 1,
      logger: pino({ level: 'info' }, { write: (line) => log.push(line) }),
      proxy: {
        upstreams: [upstream.url],
        trustedPublicKeys: [formatPublicKey(publicKeyOf(UPSTREAM_KEY))],
        sign: true,
        lookAhead: false,
        ...options.proxy,
        ...changes,
      },
    });
  let server = await start();
  return {
    temp,
    upstream,
    upstreamDirectory,
    mirrorDirectory,
    log,
    get server() {
      return server;
    },
    ask: (name, init) => fetch(`${server.url}${name}`, init),
    restart: async (changes) => {
      await server.close({ now: true });
      server = await start(changes);
    },
    async [Symbol.asyncDispose]() {
      await server.close({ now: true });
      await upstream[Symbol.asyncDispose]();
      await temp[Symbol.asyncDispose]();
    },
  };
}

export async function narInfoOf(proxied: ProxiedMirror, { info }: FakePath) {
  const response = await proxied.ask(`/${hashPartOf(info.storePath)}.narinfo`);
  assert.equal(response.status, 200);
  return parseNarInfo(await response.text(), '/nix/store');
}

/** The body, or 'broken' when the connection ended before all of it had come. */
export async function bodyOf(response: Response): Promise<Buffer | 'broken'> {
  try {
    return Buffer.from(await response.arrayBuffer());
  } catch {
    return 'broken';
  }
}

export async function fetchNar(proxied: ProxiedMirror, fake: FakePath, init?: RequestInit) {
  const { url } = await narInfoOf(proxied, fake);
  const response = await proxied.ask(`/${url}`, init);
  return { response, body: await bodyOf(response) };
}

/** Waits until the mirror itself has the path. */
export async function published(proxied: ProxiedMirror, fake: FakePath): Promise<void> {
  const name = `${hashPartOf(fake.info.storePath)}.narinfo`;
  for (let tries = 0; !(await readdir(proxied.mirrorDirectory)).includes(name); tries++) {
    assert.ok(tries < 300, `${name} was never published`);
    await sleep(50);
  }
}

export function withWrongSignatures(info: NarInfo): NarInfo {
  return { ...info, signatures: ['upstream-1:AAAA', 'other-1:BBBB'] };
}
