// Collecting while the upstream, the disk or the process itself fails: what is fetched stays, what is bad is named, nothing
// unverified becomes visible, and the same command finishes the work. The upstream's paths are made by hand and signed here.

import assert from 'node:assert/strict';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { after, beforeEach, suite, test } from 'node:test';
import {
  formatNarInfo,
  formatPublicKey,
  generateSecretKey,
  hashPartOf,
  publicKeyOf,
  type StorePath,
  signNarInfo,
} from '../src/nix/index.ts';
import { type FakePath, makeFakePath } from './support/fake-paths.ts';
import { nixferryCommand } from './support/nixferry.ts';
import { type RunOptions, run, start, toolEnvironment } from './support/run.ts';
import { makeTempDir, type TempDir } from './support/temp-dir.ts';
import { startUnreliableServer, type UnreliableServer } from './support/unreliable-server.ts';

const secretKey = generateSecretKey('upstream-1');
const trust = ['--trusted-public-key', formatPublicKey(publicKeyOf(secretKey))];
const MEGABYTE = 1_000_000;

suite('collect from an upstream that fails', () => {
  let cleanUp = new AsyncDisposableStack();
  let temp: TempDir;
  let server: UnreliableServer;
  let mirror: string;
  /** base ← middle ← top, and `other` beside them; `large` stands alone. */
  let paths: Record<'base' | 'middle' | 'top' | 'other' | 'large', FakePath>;

  beforeEach(async () => {
    await cleanUp.disposeAsync();
    cleanUp = new AsyncDisposableStack();
    temp = cleanUp.use(await makeTempDir('bad-upstream'));
    mirror = temp.join('mirror');
    const base = await makeFakePath('base');
    const middle = await makeFakePath('middle', { references: [base.info.storePath] });
    const top = await makeFakePath('top', { references: [base.info.storePath, middle.info.storePath] });
    const other = await makeFakePath('other');
    const large = await makeFakePath('large', { contents: noise(10 * MEGABYTE), compression: 'zstd' });
    paths = { base, middle, top, other, large };
    await writeCache(temp.join('cache'), Object.values(paths));
    server = cleanUp.use(await startUnreliableServer({ directory: temp.join('cache') }));
  });
  after(() => cleanUp.disposeAsync());

  const roots = (...names: (keyof typeof paths)[]) => names.map((name) => paths[name].info.storePath);

  function args(...rootPaths: readonly StorePath[]): string[] {
    return ['collect', ...rootPaths, '--upstream', server.url, ...trust, '--mirror', mirror];
  }

  function collect(rootPaths: readonly StorePath[], options: RunOptions & { readonly flags?: readonly string[] } = {}) {
    const { flags = [], ...rest } = options;
    return run(nixferryCommand, [...args(...rootPaths), ...flags], { env, ...rest });
  }

  /** The names of the paths that clients see. */
  async function visible(): Promise<string[]> {
    const files = new Set(await readdir(mirror));
    return Object.entries(paths)
      .filter(([, { info }]) => files.has(`${hashPartOf(info.storePath)}.narinfo`))
      .map(([name]) => name);
  }

  test('errors that pass, broken transfers and a slow start are repeated until all is there', async () => {
    server.misbehave(
      { path: /nix-cache-info/, times: 1, fault: { kind: 'status', status: 503 } },
      { path: /\.narinfo/, times: 2, fault: { kind: 'status', status: 429, retryAfter: '0' } },
      { path: /\.narinfo/, times: 1, fault: { kind: 'hang-up' } },
      { path: /upstream-large/, times: 1, fault: { kind: 'break', afterBytes: MEGABYTE } },
    );
    await collect(roots('top', 'large'));
    assert.deepEqual(await visible(), ['base', 'middle', 'top', 'large']);
    const ranges = server.requests
      .filter(({ path: asked }) => asked.includes('upstream-large'))
      .map(({ headers }) => headers.range);
    assert.equal(ranges.length, 2);
    assert.match(ranges[1] ?? '', /^bytes=[1-9]\d+-$/);
  });

  test('a damaged path is named with what it blocks, all else is collected, and the next run fetches only what is missing', async () => {
    server.misbehave({ path: /upstream-middle/, fault: { kind: 'corrupt', atByte: 40 } });
    const { stderr } = await collect(roots('top', 'other'), { exitCode: 18 });
    assert.match(stderr, /1 path their bytes are not what was signed/);
    assert.ok(stderr.includes(paths.middle.info.storePath));
    assert.match(stderr, /1 path fetched, but they need what is named above/);
    assert.deepEqual(await visible(), ['base', 'other']);
    server.behave();
    const before = server.count(/\.nar$/);
    await collect(roots('top', 'other'));
    assert.deepEqual(await visible(), ['base', 'middle', 'top', 'other']);
    assert.equal(server.count(/\.nar$/) - before, 1);
  });

  test('the next upstream is asked when one lacks a path, sends damage, or is dead', async () => {
    const second = cleanUp.use(await startUnreliableServer({ directory: temp.join('cache') }));
    server.misbehave(
      { path: new RegExp(`${hashPartOf(paths.base.info.storePath)}.narinfo`), fault: { kind: 'status', status: 404 } },
      { path: /upstream-middle/, fault: { kind: 'corrupt', atByte: 40 } },
    );
    const dead = await deadUrl();
    const { stderr } = await run(
      nixferryCommand,
      [
        'collect',
        ...roots('top'),
        '--upstream',
        dead,
        '--upstream',
        server.url,
        '--upstream',
        second.url,
        ...trust,
        '--mirror',
        mirror,
      ],
      { env },
    );
    assert.match(stderr, /left out: .*refuses connections/);
    assert.deepEqual(await visible(), ['base', 'middle', 'top']);
    assert.equal(second.count(/\.nar$/), 2);
  });

  test('an upstream that says a path is another one is not believed', async () => {
    const base = hashPartOf(paths.base.info.storePath);
    const lie = formatNarInfo(signNarInfo(paths.other.info, secretKey));
    await writeFile(path.join(temp.join('cache'), `${base}.narinfo`), lie);
    await collect(roots('base'), { exitCode: 18 });
    assert.deepEqual(await visible(), []);
  });

  test('kill -9 in the middle of a transfer loses nothing, and the same command goes on from there', async () => {
    server.misbehave({ path: /upstream-large/, times: 1, fault: { kind: 'stall', afterBytes: MEGABYTE } });
    const killed = start(nixferryCommand, [...args(...roots('top', 'large')), '--jobs', '1'], { env });
    await partialOf(MEGABYTE / 2);
    await killed.stop('SIGKILL');
    assert.ok(!(await visible()).includes('large'));
    await collect(roots('top', 'large'));
    assert.deepEqual(await visible(), ['base', 'middle', 'top', 'large']);
    const ranges = server.requests
      .filter(({ path: asked }) => asked.includes('upstream-large'))
      .map(({ headers }) => headers.range);
    assert.match(ranges.at(-1) ?? '', /^bytes=[1-9]\d+-$/);
  });

  test('Ctrl-C stops with exit code 130 and says how to go on', async () => {
    server.misbehave({ path: /upstream-large/, times: 1, fault: { kind: 'stall', afterBytes: MEGABYTE } });
    const running = start(nixferryCommand, args(...roots('large')), { env });
    await partialOf(MEGABYTE / 2);
    const { exitCode, stderr } = await running.stop('SIGINT');
    assert.equal(exitCode, 130);
    assert.match(stderr, /^next: {2}to go on .* nixferry collect /m);
    await collect(roots('large'));
    assert.deepEqual(await visible(), ['large']);
  });

  test('a disk that is too small is refused before the first byte, and the mirror stays sound', async () => {
    await mkdir(mirror);
    await run('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', mirror]);
    cleanUp.defer(async () => void (await run('umount', [mirror])));
    const { stderr } = await collect(roots('large', 'other'), { exitCode: 15 });
    assert.match(stderr, /has 3\.\d MB free, and 1\d\.\d MB are needed/);
    assert.equal(server.count(/\.nar$/), 0);
    await collect(roots('other'));
    assert.deepEqual(await visible(), ['other']);
  });

  test('a disk that fills up on the way ends with exit code 15, and what is finished stays', async () => {
    await mkdir(mirror);
    await run('mount', ['-t', 'tmpfs', '-o', 'size=14m', 'tmpfs', mirror]);
    cleanUp.defer(async () => void (await run('umount', [mirror])));
    await collect(roots('top'));
    server.misbehave({ path: /upstream-large/, times: 1, fault: { kind: 'stall', afterBytes: MEGABYTE } });
    const running = start(nixferryCommand, args(...roots('large')), { env });
    await partialOf(MEGABYTE / 2);
    await running.stop('SIGKILL');
    await writeFile(path.join(mirror, 'ballast'), Buffer.alloc(8 * MEGABYTE));
    const { stderr } = await collect(roots('large'), { exitCode: 15 });
    assert.match(stderr, /^next: {2}/m);
    assert.deepEqual(await visible(), ['base', 'middle', 'top']);
    await run('rm', [path.join(mirror, 'ballast')]);
    await collect(roots('large'));
    assert.deepEqual(await visible(), ['base', 'middle', 'top', 'large']);
  });

  test('a second writer is told who holds the mirror', async () => {
    server.misbehave({ path: /upstream-large/, times: 1, fault: { kind: 'stall', afterBytes: MEGABYTE } });
    const first = start(nixferryCommand, args(...roots('large')), { env });
    await partialOf(MEGABYTE / 2);
    const { stderr } = await collect(roots('other'), { exitCode: 19 });
    assert.match(stderr, /nixferry collect/);
    await first.stop('SIGKILL');
    await collect(roots('other'));
  });

  /** Resolves when a transfer under way has put so many bytes on the disk. */
  async function partialOf(bytes: number): Promise<void> {
    const script = 'until [ -n "$(find "$1" -type f -size +"$2"c 2>/dev/null)" ]; do sleep 0.05; done';
    await run('/bin/sh', ['-c', script, 'sh', path.join(mirror, '.nixferry', 'partial'), String(bytes)], {
      timeoutMs: 30_000,
    });
  }
});

// Nothing of the machine's own settings, and no Nix whose store might have the paths.
const env = toolEnvironment({ PATH: `${path.dirname(process.execPath)}:/usr/bin:/bin` });

async function writeCache(directory: string, paths: readonly FakePath[]): Promise<void> {
  await mkdir(path.join(directory, 'nar'), { recursive: true });
  await writeFile(path.join(directory, 'nix-cache-info'), 'StoreDir: /nix/store\n');
  for (const { info, file } of paths) {
    await writeFile(path.join(directory, info.url), file);
    await writeFile(
      path.join(directory, `${hashPartOf(info.storePath)}.narinfo`),
      formatNarInfo(signNarInfo(info, secretKey)),
    );
  }
}

/** Bytes that do not compress, the same every time. */
function noise(bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  let state = 1;
  for (let i = 0; i < bytes; i += 1) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    buffer[i] = state >>> 16;
  }
  return buffer;
}

async function deadUrl(): Promise<string> {
  const listener = createServer();
  const { promise, resolve } = Promise.withResolvers<number>();
  listener.listen(0, '127.0.0.1', () => {
    const address = listener.address();
    resolve(typeof address === 'object' && address !== null ? address.port : 0);
  });
  const port = await promise;
  await new Promise((done) => {
    listener.close(done);
  });
  return `http://127.0.0.1:${port}`;
}
