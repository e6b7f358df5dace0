import assert from 'node:assert/strict';
import { chmod, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { zstdDecompressSync } from 'node:zlib';
import { fileNarHash, narHashOf, narOf, tarballOf } from '../../test/support/file-tree.ts';
import { instantClock } from '../../test/support/instant-clock.ts';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import { startUnreliableServer, type UnreliableServerOptions } from '../../test/support/unreliable-server.ts';
import { NixferryError } from '../base/errors.ts';
import { createHttpClient } from '../base/http-client.ts';
import { type Mirror, openMirror } from '../mirror/mirror.ts';
import { publish } from '../mirror/publish.ts';
import { formatHash, type HashAlgorithm, hashBytes, hashPartOf, type StorePath, writeNar } from '../nix/index.ts';
import type { FixedSource } from './fixed-source.ts';
import { openSourceFolder } from './source-folder.ts';
import {
  type BuildSource,
  type ObtainedSource,
  SourceMissing,
  SourceSupply,
  type SourceSupplyOptions,
} from './source-supply.ts';
import { fetchDerivation } from './test-support.ts';

const BYTES = Buffer.alloc(300_000, 'a source, and another ');

async function setUp(options: UnreliableServerOptions = {}) {
  const stack = new AsyncDisposableStack();
  const temp = stack.use(await makeTempDir('sources'));
  await mkdir(temp.join('internet'));
  const server = stack.use(await startUnreliableServer({ directory: temp.join('internet'), ...options }));
  const http = stack.use(
    createHttpClient({ environment: {}, clock: instantClock(), attempts: 3, stallTimeoutMs: 200 }),
  );
  const mirror = stack.use(await openMirror(temp.join('mirror'), { access: 'write', create: true }));
  const signal = new AbortController().signal;
  const put = (name: string, bytes: Uint8Array) => writeFile(temp.join('internet', name), bytes);
  const supply = (changes: Partial<SourceSupplyOptions> = {}) =>
    new SourceSupply({
      folders: [],
      hashedMirrors: [],
      http,
      readDerivation: async () => undefined,
      dump: () => assert.fail('nothing is to be dumped'),
      build: undefined,
      storeDir: '/nix/store',
      environment: {},
      ...changes,
    });
  const openFolder = (directory: string) =>
    openSourceFolder(directory, { cacheFolder: temp.join('cache'), onProgress: () => {}, signal });
  return { temp, server, mirror, signal, put, supply, openFolder, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

/** Published in the mirror, with a `CA:` that proves it. */
async function assertPublished(mirror: Mirror, { candidate, leftover }: ObtainedSource, nar: Buffer): Promise<void> {
  const { storePath } = candidate.info;
  if (leftover !== undefined) await rm(leftover);
  assert.deepEqual((await publish(mirror, [candidate])).published, [storePath]);
  const info = await mirror.readNarInfo(hashPartOf(storePath));
  assert.ok(info?.contentAddress !== undefined);
  assert.deepEqual(zstdDecompressSync(await readFile(`${mirror.directory}/${info.url}`)), nar);
  assert.deepEqual(await readdir(mirror.layout.partialFolder), []);
  assert.deepEqual(await readdir(mirror.layout.tempFolder), []);
}

async function narOfFile(bytes: Buffer, executable = false): Promise<Buffer> {
  const node = { type: 'regular', executable, sizeBytes: bytes.length, contents: () => [bytes] } as const;
  return Buffer.concat(await Array.fromAsync(writeNar(node)));
}

function flat(urls: string, algorithm: HashAlgorithm = 'sha256', env: Record<string, string> = {}): FixedSource {
  return fetchDerivation('file.tar', 'flat', hashBytes(algorithm, BYTES), { urls, ...env }).source;
}

/** The source is had from nowhere; what was tried, and what came of it. */
async function attemptsOf(work: Promise<unknown>): Promise<readonly (readonly [from: string, problem: string])[]> {
  const error = await work.then(
    () => assert.fail('it was found'),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof SourceMissing, String(error));
  return error.attempts.map(({ from, problem }) => [from, problem] as const);
}

for (const algorithm of ['md5', 'sha1', 'sha256', 'sha512'] as const) {
  test(`SourceSupply.obtain takes a flat file from its address when ${algorithm} is declared`, async () => {
    await using set = await setUp();
    await set.put('file.tar', BYTES);
    const obtained = await set.supply().obtain(flat(`${set.server.url}/file.tar`, algorithm), set);
    await assertPublished(set.mirror, obtained, await narOfFile(BYTES));
  });
}

test('SourceSupply.obtain goes on to the next address when one is dead, gone, lies, breaks, stalls or redirects in circles', async () => {
  await using set = await setUp();
  await set.put('good', BYTES);
  for (const name of ['lies', 'short', 'stalls', 'breaks', 'moved']) await set.put(name, BYTES);
  const { url } = set.server;
  set.server.misbehave(
    { path: /lies/, fault: { kind: 'corrupt', atByte: 5000 } },
    { path: /short/, fault: { kind: 'truncate', afterBytes: 1000 } },
    { path: /stalls/, fault: { kind: 'stall', afterBytes: 1000 } },
    { path: /breaks/, fault: { kind: 'break', afterBytes: 0 } },
    { path: /circle/, fault: { kind: 'redirect', location: '/circle' } },
    { path: /moved/, fault: { kind: 'redirect', location: '/good' } },
    { path: /portal/, fault: { kind: 'redirect', location: 'ftp://elsewhere/' } },
  );
  const dead = await startUnreliableServer();
  await dead.goDead();
  const bad = ['gone', 'lies', 'short', 'stalls', 'breaks', 'circle', 'portal'].map((name) => `${url}/${name}`);
  const urls = [`${dead.url}/file`, 'ftp://example.org/file', ...bad];
  const attempts = await attemptsOf(set.supply().obtain(flat(urls.join(' ')), set));
  assert.deepEqual(
    attempts.map(([from]) => from),
    urls,
  );
  const problems = [
    /refuses connections/,
    /left to the builder/,
    /404/,
    /its hash is/,
    /its hash is/,
    /stands still/,
    /broke/,
    /redirects/,
  ];
  for (const [index, pattern] of problems.entries()) assert.match(attempts[index]?.[1] ?? '', pattern);

  const obtained = await set.supply().obtain(flat([...urls, `${url}/moved`].join(' ')), set);
  assert.equal(obtained.candidate.info.narSizeBytes, (await narOfFile(BYTES)).length);
});

test('SourceSupply.obtain goes on where an earlier run stopped, and begins anew when that was wrong', async () => {
  await using set = await setUp();
  await set.put('file', BYTES);
  const source = flat(`${set.server.url}/file`);
  set.server.misbehave({ path: /file/, times: 3, fault: { kind: 'break', afterBytes: 50_000 } });
  await assert.rejects(set.supply().obtain(source, set), SourceMissing);
  const [left = ''] = await readdir(set.mirror.layout.partialFolder);
  const file = `${set.mirror.layout.partialFolder}/${left}`;
  const partial = await readFile(file);
  assert.deepEqual(partial, BYTES.subarray(0, partial.length));
  assert.ok(partial.length > 0);
  let receivedBytes = 0;
  const counted = { ...set, onBytes: (bytes: number) => (receivedBytes += bytes) };
  const { candidate, leftover = '' } = await set.supply().obtain(source, counted);
  assert.equal(receivedBytes, BYTES.length - partial.length);

  // Killed before it was published: it is not asked for again.
  await rm(candidate.narFile ?? '');
  const asked = set.server.requests.length;
  await rm((await set.supply().obtain(source, set)).candidate.narFile ?? '');
  assert.equal(set.server.requests.length, asked);

  await writeFile(leftover, Buffer.alloc(1000, 'rubbish'));
  await rm((await set.supply().obtain(source, set)).candidate.narFile ?? '');
  await rm(leftover);
  await writeFile(file, Buffer.alloc(1000, 'rubbish'));
  await assertPublished(set.mirror, await set.supply().obtain(source, set), await narOfFile(BYTES));
});

test('SourceSupply.obtain asks hashed mirrors before the address, by base16 of the declared hash', async () => {
  const base16 = formatHash(hashBytes('sha512', BYTES), 'base16', { prefix: false });
  await using set = await setUp({
    respond: (path) => (path === `/base/sha512/${base16}` ? { body: BYTES } : undefined),
  });
  const supply = set.supply({ hashedMirrors: [`${set.server.url}/empty`, `${set.server.url}/base`] });
  const obtained = await supply.obtain(flat(`${set.server.url}/never-asked`, 'sha512'), set);
  assert.deepEqual(
    set.server.requests.map(({ path }) => path),
    [`/empty/sha512/${base16}`, `/base/sha512/${base16}`],
  );
  await assertPublished(set.mirror, obtained, await narOfFile(BYTES));
});

test('SourceSupply.obtain finds mirror:// in the derivation of the lists, where NIX_MIRRORS does not say otherwise', async () => {
  await using set = await setUp({ respond: (path) => (path.endsWith('/x/file.tar') ? { body: BYTES } : undefined) });
  const { url } = set.server;
  const lists = fetchDerivation('mirrors-list', 'flat', hashBytes('sha256', ''), { gnu: `${url}/one/  ${url}/two/` });
  const { source } = fetchDerivation(
    'file.tar',
    'flat',
    hashBytes('sha256', BYTES),
    { urls: 'mirror://gnu/x/file.tar mirror://unheard/y', mirrorsFile: lists.source.storePath },
    { inputs: [lists.drvPath] },
  );
  const readDerivation = async (path: StorePath) => (path === lists.drvPath ? lists.bytes : undefined);
  await set.supply({ readDerivation }).obtain(source, set);
  assert.equal(set.server.requests.at(-1)?.path, '/one/x/file.tar');
  await set.supply({ readDerivation, environment: { NIX_MIRRORS_gnu: `${url}/mine/` } }).obtain(source, set);
  assert.equal(set.server.requests.at(-1)?.path, '/mine/x/file.tar');
  const attempts = await attemptsOf(set.supply().obtain(source, set));
  assert.deepEqual(attempts[0], ['mirror://gnu/x/file.tar', 'nobody says where mirror://gnu is']);
});

test('SourceSupply.obtain makes the executable and the unpacked outputs of builtin:fetchurl', async () => {
  await using set = await setUp();
  const tree = { 'bin/tool': '#!/bin/sh\n', 'share/text': 'text\n' };
  const nar = await narOf(tree);
  await set.put('tool', BYTES);
  await set.put('tree.nar', nar);
  const { url } = set.server;
  const builtin = { builder: 'builtin:fetchurl' };
  const executable = fetchDerivation(
    'tool',
    'nar',
    await fileNarHash(BYTES),
    { url: `${url}/tool`, executable: '1' },
    builtin,
  );
  assert.notDeepEqual(await narOfFile(BYTES, true), await narOfFile(BYTES));
  const executableHash = hashBytes('sha256', await narOfFile(BYTES, true));
  const right = fetchDerivation('tool', 'nar', executableHash, { url: `${url}/tool`, executable: '1' }, builtin);
  await assert.rejects(set.supply().obtain(executable.source, set), SourceMissing);
  await assertPublished(set.mirror, await set.supply().obtain(right.source, set), await narOfFile(BYTES, true));
  const unpack = { url: `${url}/tree.nar`, unpack: '1' };
  const unpacked = fetchDerivation('tree', 'nar', await narHashOf(tree), unpack, builtin);
  await assertPublished(set.mirror, await set.supply().obtain(unpacked.source, set), nar);
});

test('SourceSupply.obtain unpacks an archive, without its one folder or with it, as the declared hash has it', async () => {
  await using set = await setUp();
  const tree = { 'bin/tool': '#!/bin/sh\n', 'share/ä': 'text\n' };
  await set.put('archive.tar.gz', await tarballOf(tree, 'project-1.0'));
  const env = { urls: `${set.server.url}/archive.tar.gz`, postFetch: 'unpack' };
  const inner = fetchDerivation('source', 'nar', await narHashOf(tree), env);
  await assertPublished(set.mirror, await set.supply().obtain(inner.source, set), await narOf(tree));
  const withFolder = Object.fromEntries(Object.entries(tree).map(([name, text]) => [`project-1.0/${name}`, text]));
  const whole = fetchDerivation('whole', 'nar', await narHashOf(withFolder), env);
  await assertPublished(set.mirror, await set.supply().obtain(whole.source, set), await narOf(withFolder));
  const other = fetchDerivation('other', 'nar', hashBytes('sha256', 'changed by postFetch'), env);
  const attempts = await attemptsOf(set.supply().obtain(other.source, set));
  assert.match(attempts[0]?.[1] ?? '', /neither the archive nor what is in it has the declared hash/);
});

test('SourceSupply.build has the builder do what nothing else can, and checks that too', async () => {
  await using set = await setUp();
  const tree = { file: 'from git\n' };
  const nar = await narOf(tree);
  const git = fetchDerivation('source', 'nar', await narHashOf(tree), {
    url: `${set.server.url}/repository.git`,
    rev: 'abc',
  });
  assert.equal(git.source.recipe, undefined);
  assert.equal(set.supply().mayHave(git.source), false);
  const asked: StorePath[] = [];
  const building =
    (bytes: Buffer): BuildSource =>
    async ({ drvPath }) => {
      asked.push(drvPath);
      return {
        references: [],
        async *nar() {
          yield bytes;
        },
      };
    };
  const good = set.supply({ build: building(nar) });
  assert.equal(good.mayHave(git.source), true);
  await assertPublished(set.mirror, await good.build(git.source, set), nar);
  const bad = await attemptsOf(
    set.supply({ build: building(await narOf({ file: 'forged\n' })) }).build(git.source, set),
  );
  assert.match(bad[0]?.[1] ?? '', /its hash is/);
  assert.deepEqual(asked, [git.drvPath, git.drvPath]);

  assert.deepEqual(await attemptsOf(set.supply({ build: refuseToBuild }).build(git.source, set)), [
    [`nix-store --realise ${git.drvPath}`, 'the builder says no'],
  ]);
  assert.equal(set.server.requests.length, 0);
});

test('SourceSupply.obtain takes from a folder what has the hash, whatever it is called, before it asks the network', async () => {
  await using set = await setUp();
  const folder = set.temp.join('folder');
  const tree = { 'bin/tool': '#!/bin/sh\n' };
  await mkdir(`${folder}/deep`, { recursive: true });
  await writeFile(`${folder}/deep/renamed`, BYTES);
  await chmod(`${folder}/deep/renamed`, 0o755);
  await writeFile(`${folder}/archive.tar.gz`, await tarballOf(tree, 'project'));
  const url = set.server.url;
  const executableHash = hashBytes('sha256', await narOfFile(BYTES, true));
  const supply = set.supply({ folders: [await set.openFolder(folder)] });
  await assertPublished(set.mirror, await supply.obtain(flat(`${url}/x`, 'sha1'), set), await narOfFile(BYTES));
  const tool = fetchDerivation(
    'tool',
    'nar',
    executableHash,
    { url: `${url}/x`, executable: '1' },
    { builder: 'builtin:fetchurl' },
  );
  await assertPublished(set.mirror, await supply.obtain(tool.source, set), await narOfFile(BYTES, true));
  const zip = fetchDerivation('source', 'nar', await narHashOf(tree), { urls: `${url}/archive.tar.gz?x=1` });
  await assertPublished(set.mirror, await supply.obtain(zip.source, set), await narOf(tree));
  assert.equal(set.server.requests.length, 0);
});

test('SourceSupply.obtain takes a path of a store by its name, and checks it', async () => {
  await using set = await setUp();
  const tree = { file: 'contents\n' };
  const { source } = fetchDerivation('source', 'nar', await narHashOf(tree), { rev: 'abc' });
  const store = set.temp.join('root/nix/store');
  const path = `${store}/${source.storePath.slice('/nix/store/'.length)}`;
  await mkdir(path, { recursive: true });
  await writeFile(`${path}/file`, 'contents\n');
  const folders = [await set.openFolder(set.temp.join('root'))];
  const dumped: string[] = [];
  const dump = (nar: Buffer) => (file: string) => {
    dumped.push(file);
    return (async function* () {
      yield nar;
    })();
  };
  const good = await set.supply({ folders, dump: dump(await narOf(tree)) }).obtain(source, set);
  await assertPublished(set.mirror, good, await narOf(tree));
  await assert.rejects(
    set.supply({ folders, dump: dump(await narOf({ file: 'other\n' })) }).obtain(source, set),
    SourceMissing,
  );
  assert.deepEqual(dumped, [path, path]);
});

test('SourceSupply.obtain opens a few connections to one host at a time', async () => {
  await using set = await setUp({ latencyMs: 5 });
  await set.put('file', BYTES);
  const supply = set.supply();
  const sources = Array.from(
    { length: 20 },
    (_, index) =>
      fetchDerivation(`file-${index}`, 'flat', hashBytes('sha256', BYTES), { url: `${set.server.url}/file?${index}` })
        .source,
  );
  await Promise.all(sources.map((source) => supply.obtain(source, set)));
  assert.ok(set.server.mostAtOnce <= 4, `${set.server.mostAtOnce} at once`);
});

test('SourceSupply.obtain stops at once when it is told to, and keeps what has come', async () => {
  await using set = await setUp();
  await set.put('file', BYTES);
  set.server.misbehave({ path: /file/, fault: { kind: 'stall', afterBytes: 100_000 } });
  const controller = new AbortController();
  const onBytes = () => controller.abort(new Error('stop'));
  const source = flat(`${set.server.url}/file`);
  await assert.rejects(set.supply().obtain(source, { ...set, signal: controller.signal, onBytes }), /stop/);
  assert.equal((await readdir(set.mirror.layout.partialFolder)).length, 1);
});

function refuseToBuild(): Promise<never> {
  return Promise.reject(new NixferryError('nix-failed', 'the builder says no'));
}
