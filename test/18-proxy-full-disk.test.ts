// A caching proxy whose disk is full, or runs full: clients get the whole verified bytes or no end of them, what cannot be kept is passed on where temporary
// files have room, and once there is room it goes on by itself.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { openMirror } from '../src/mirror/mirror.ts';
import { verifyMirror } from '../src/mirror/verify.ts';
import { formatPublicKey, hashPartOf, parseNarInfo, publicKeyOf } from '../src/nix/index.ts';
import { type FakePath, makeFakePath } from './support/fake-paths.ts';
import { assertNothingHalfVisible } from './support/mirror-checks.ts';
import { nixferryCommand } from './support/nixferry.ts';
import { UPSTREAM_KEY, writeCache } from './support/proxied-mirror.ts';
import { type RunningProcess, run, start, toolEnvironment } from './support/run.ts';
import { makeTempDir, type TempDir } from './support/temp-dir.ts';
import { startUnreliableServer, type UnreliableServer } from './support/unreliable-server.ts';

/** Beyond what the proxy leaves to others. */
const DISK = '400m';
const PATHS = ['one', 'two', 'three', 'four', 'five', 'six'] as const;

suite('a caching proxy on a full disk', () => {
  const cleanUp = new AsyncDisposableStack();
  const paths = new Map<string, FakePath>();
  let temp: TempDir;
  let upstream: UnreliableServer;

  before(async () => {
    temp = cleanUp.use(await makeTempDir('proxy-disk'));
    for (const [index, name] of PATHS.entries()) {
      const contents = randomBytes(index % 2 === 0 ? 3_000_000 : 20_000);
      paths.set(name, await makeFakePath(name, { contents, compression: 'zstd' }));
    }
    await writeCache(temp.join('upstream'), [...paths.values()]);
    upstream = cleanUp.use(await startUnreliableServer({ directory: temp.join('upstream') }));
  });
  after(() => cleanUp.disposeAsync());

  const pathOf = (name: (typeof PATHS)[number]): FakePath => {
    const found = paths.get(name);
    assert.ok(found !== undefined);
    return found;
  };

  test('what is fetched is passed on verified and not kept, which the log and /readyz say, and kept again when there is room', async () => {
    await using disk = await mountDisk(DISK);
    const temporary = temp.join('roomy');
    await mkdir(temporary);
    let proxy = await startProxy(disk.path, upstream, temporary);
    cleanUp.defer(() => proxy.server[Symbol.asyncDispose]());
    await fill(disk.path);
    const fetched = upstream.count(/^\/nar\//);
    for (const name of ['one', 'two'] as const) {
      const bodies = await Promise.all(Array.from({ length: 5 }, () => proxy.fetch(pathOf(name))));
      for (const body of bodies) assert.ok(Buffer.isBuffer(body) && body.equals(pathOf(name).file), `${name} ${body}`);
    }
    assert.equal(upstream.count(/^\/nar\//) - fetched, 2);
    // A client that takes its time: what it was told could not be written down.
    const late = await proxy.fetch(pathOf('four'), { afterMs: 500 });
    assert.ok(Buffer.isBuffer(late) && late.equals(pathOf('four').file));
    await proxy.server.waitForOutput(/free some room.*the disk is full: what is fetched is passed on and not kept/);
    const { status, disk: told } = await proxy.readyz();
    assert.deepEqual([status, told?.state], [200, 'full']);
    assert.match(
      `${told?.reason} ${told?.next}`,
      /[\d.]+ [kM]?B are free on the file system of .*mirror.* free some room/,
    );
    // Not even what is not kept is passed on unchecked.
    upstream.misbehave({ path: /^\/nar\//, times: 1, fault: { kind: 'corrupt', atByte: 1_000_000 } });
    assert.ok(!Buffer.isBuffer(await proxy.fetch(pathOf('three'))));
    assert.deepEqual(await proxy.kept(), { visible: 0, waiting: [] });

    // It starts on a full disk, too.
    await proxy.server.stop('SIGKILL');
    proxy = await startProxy(disk.path, upstream, temporary);
    const passed = await proxy.fetch(pathOf('five'));
    assert.ok(Buffer.isBuffer(passed) && passed.equals(pathOf('five').file));

    await rm(path.join(disk.path, 'filler'));
    const body = await proxy.fetch(pathOf('six'));
    assert.ok(Buffer.isBuffer(body) && body.equals(pathOf('six').file));
    await proxy.published(pathOf('six'));
    assert.deepEqual(await proxy.kept(), { visible: 1, waiting: [] });
    assert.deepEqual(await proxy.readyz(), { status: 200, disk: undefined });
    await proxy.server.stop();
    const left = (await readdir(temporary)).filter((name) => name.startsWith('nixferry-proxy-'));
    assert.equal(left.length, 1, 'only the one that was killed has left something behind');
  });

  test('where temporary files have no room either, what is not here is a 404, what is here is served, and it needs no restart', async () => {
    await using disk = await mountDisk(DISK);
    const proxy = await startProxy(disk.path, upstream, disk.path);
    await using _ = proxy.server;
    const here = await proxy.fetch(pathOf('two'));
    assert.ok(Buffer.isBuffer(here));
    await proxy.published(pathOf('two'));
    await fill(disk.path);
    assert.equal(await proxy.fetch(pathOf('one')), 404);
    assert.equal(await proxy.fetch(pathOf('four')), 404);
    await proxy.server.waitForOutput(/free some room.*the disk is full: clients cannot have what is not here/);
    const again = await proxy.fetch(pathOf('two'));
    assert.ok(Buffer.isBuffer(again) && again.equals(here));
    assert.deepEqual(await proxy.kept(), { visible: 1, waiting: [] });
    await rm(path.join(disk.path, 'filler'));
    const body = await proxy.fetch(pathOf('one'));
    assert.ok(Buffer.isBuffer(body) && body.equals(pathOf('one').file));
    await proxy.published(pathOf('one'));
  });

  test('a disk that runs full at any step ends no answer early, shows nothing half, and goes on when it has grown', async () => {
    await using disk = await mountDisk('1m');
    const proxy = await startProxy(disk.path, upstream, disk.path, {
      NODE_OPTIONS: `--import ${path.join(import.meta.dirname, 'support/boundless-disk.ts')}`,
    });
    await using _ = proxy.server;
    let refused = 0;
    const whole = new Set<string>();
    for (let sizeKib = 1024; whole.size < PATHS.length; sizeKib += 512) {
      assert.ok(sizeKib < 40_000, 'it never went on');
      await run('mount', ['-o', `remount,size=${sizeKib}k`, disk.path]);
      for (const name of PATHS) {
        const body = await proxy.fetch(pathOf(name));
        if (!Buffer.isBuffer(body)) refused += 1;
        else assert.ok(body.equals(pathOf(name).file), name);
        if (Buffer.isBuffer(body)) whole.add(name);
        else whole.delete(name);
      }
      await using mirror = await openMirror(proxy.mirror, { access: 'read' });
      await assertNothingHalfVisible(mirror);
    }
    assert.ok(refused > 10, `refused only ${refused} times`);
    await run('mount', ['-o', 'remount,size=64m', disk.path]);
    // Some were passed on only.
    for (const name of PATHS) assert.ok(Buffer.isBuffer(await proxy.fetch(pathOf(name))));
    for (const name of PATHS) await proxy.published(pathOf(name));
    await using mirror = await openMirror(proxy.mirror, { access: 'read' });
    const { checked, damaged, hidden } = await verifyMirror({ mirror });
    assert.deepEqual({ checked, damaged, hidden }, { checked: PATHS.length, damaged: [], hidden: [] });
    const { stderr } = await proxy.server.stop();
    assert.doesNotMatch(stderr, /died/);
  });
});

/** A file system of its own, in memory. Needs root. */
async function mountDisk(size: string): Promise<TempDir> {
  const folder = await makeTempDir('disk');
  await run('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'nixferry-test', folder.path]);
  return {
    ...folder,
    [Symbol.asyncDispose]: async () => {
      await run('umount', ['--lazy', folder.path]);
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** Not a byte is left. */
async function fill(folder: string): Promise<void> {
  await run('dd', ['if=/dev/zero', `of=${path.join(folder, 'filler')}`, 'bs=64k', 'status=none'], { exitCode: 1 });
  await writeFile(path.join(folder, 'probe'), 'x').then(
    () => assert.fail('there is room left'),
    () => rm(path.join(folder, 'probe'), { force: true }),
  );
}

interface FullProxy {
  readonly server: RunningProcess;
  readonly mirror: string;
  /** The NAR; the status, or that the connection ended before all of it had come. */
  fetch(fake: FakePath, options?: { readonly afterMs: number }): Promise<Buffer | number | 'broken'>;
  published(fake: FakePath): Promise<void>;
  readyz(): Promise<{ status: number; disk: { state: string; reason: string; next: string } | undefined }>;
  /** What clients could see, and what lies in the proxy's own folders. */
  kept(): Promise<{ visible: number; waiting: readonly string[] }>;
}

async function startProxy(
  disk: string,
  { url: from }: UnreliableServer,
  temporary: string,
  extra: Readonly<Record<string, string>> = {},
): Promise<FullProxy> {
  const mirror = path.join(disk, 'mirror');
  const key = formatPublicKey(publicKeyOf(UPSTREAM_KEY));
  const flags = ['--upstream', from, '--trusted-public-key', key, '--workers', '1', '--listen', '127.0.0.1:0'];
  const env = toolEnvironment({ TMPDIR: temporary, ...extra });
  const server = start(nixferryCommand, ['serve', '--mirror', mirror, ...flags], { env });
  const [, url = ''] = await server.waitForOutput(/on (http:\/\/127\.0\.0\.1:\d+)/);
  return {
    server,
    mirror,
    fetch: async ({ info }, { afterMs } = { afterMs: 0 }) => {
      const told = await fetch(`${url}/${hashPartOf(info.storePath)}.narinfo`);
      assert.equal(told.status, 200);
      const { url: nar } = parseNarInfo(await told.text(), '/nix/store');
      await sleep(afterMs);
      try {
        const response = await fetch(`${url}/${nar}`);
        const body = Buffer.from(await response.arrayBuffer());
        return response.status === 200 ? body : response.status;
      } catch {
        return 'broken';
      }
    },
    published: async ({ info }) => {
      const name = `${hashPartOf(info.storePath)}.narinfo`;
      for (let tries = 0; !(await readdir(mirror)).includes(name); tries++) {
        assert.ok(tries < 600, `${name} was never published`);
        await sleep(50);
      }
    },
    readyz: async () => {
      const response = await fetch(`${url}/readyz`);
      const { disk: told } = (await response.json()) as { disk?: { state: string; reason: string; next: string } };
      return { status: response.status, disk: told };
    },
    kept: async () => {
      const folders = await Promise.all(
        ['partial', 'held'].map((folder) => readdir(path.join(mirror, '.nixferry/proxy', folder))),
      );
      const visible = (await readdir(mirror)).filter((name) => name.endsWith('.narinfo')).length;
      return { visible, waiting: folders.flat() };
    },
  };
}
