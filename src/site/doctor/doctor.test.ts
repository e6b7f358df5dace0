import assert from 'node:assert/strict';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createServer as createPlainServer } from 'node:net';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { makeTempDir } from '../../../test/support/temp-dir.ts';
import { createHttpClient } from '../../base/http-client.ts';
import { rotateMirrorKey } from '../../mirror/key-rotation.ts';
import { openMirror } from '../../mirror/mirror.ts';
import type { UpstreamState } from '../../mirror/upstream-state.ts';
import { hashBytes } from '../../nix/hash.ts';
import { formatNarInfo, type NarInfo } from '../../nix/narinfo.ts';
import { formatPublicKey, generateSecretKey, publicKeyOf, signNarInfo } from '../../nix/signature.ts';
import { hashPartOf, parseStorePath } from '../../nix/store-path.ts';
import { checkMemory } from './check-memory.ts';
import { checkMirror, isMirrorFolder } from './check-mirror.ts';
import { checkSettings, type SettingValues } from './check-settings.ts';
import { checkSignature } from './check-signatures.ts';
import { checkSubstituters } from './check-substituters.ts';
import { checkUpstreams, explainMissing } from './check-upstreams.ts';
import { checkUser } from './check-user.ts';
import { type Finding, settingRemedy } from './finding.ts';
import type { Machine } from './machine.ts';
import { readNarInfoMemories } from './narinfo-memory.ts';
import { type CacheProbe, probeCache } from './probe-cache.ts';

const KEY = generateSecretKey('ferry-1');
const PATH = parseStorePath(`/nix/store/${'a'.repeat(32)}-hello`, '/nix/store');
const INFO: NarInfo = {
  storePath: PATH,
  url: 'nar/x.nar',
  compression: 'none',
  narHash: hashBytes('sha256', 'x'),
  narSizeBytes: 120,
  references: [],
  signatures: [],
};

function machineWith(changes: Partial<Machine> = {}): Machine {
  return {
    isNixos: false,
    isRoot: true,
    userName: 'ada',
    groupNames: ['wheel'],
    hasNetwork: true,
    daemonSocket: undefined,
    nixCaches: [],
    environment: {},
    ...changes,
  };
}

function settings(changes: Readonly<Record<string, string>>): SettingValues {
  const usual = { substitute: 'true', 'require-sigs': 'true', 'connect-timeout': '3', fallback: 'true' };
  const all = {
    ...usual,
    'narinfo-cache-negative-ttl': '0',
    'trusted-public-keys': formatPublicKey(publicKeyOf(KEY)),
    ...changes,
  };
  return new Map(Object.entries(all).map(([name, value]) => [name, value.split(' ').filter((word) => word !== '')]));
}

const wrong = (findings: readonly Finding[]): string[] =>
  findings.filter(({ level }) => level !== 'fine').map(({ id, level }) => `${level} ${id}`);

/** A server of answers by address; everything else is 404. */
async function serveAnswers(answers: Readonly<Record<string, string | number>>, date?: string) {
  const server = createServer((request, response) => {
    const answer = answers[request.url ?? ''];
    if (date !== undefined) response.setHeader('date', date);
    response.statusCode = typeof answer === 'number' ? answer : answer === undefined ? 404 : 200;
    response.end(typeof answer === 'string' ? answer : '');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const http = createHttpClient({ attempts: 1, connectTimeoutMs: 500, stallTimeoutMs: 500, environment: {} });
  const tools = { http, timeoutMs: 1000, signal: new AbortController().signal, behindProxy: false };
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    tools,
    [Symbol.asyncDispose]: async () => {
      await http[Symbol.asyncDispose]();
      server.closeAllConnections();
      server.close();
    },
  };
}

const CACHE_INFO = 'StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 30\n';

test('settingRemedy writes lines as this machine takes them', () => {
  const line = { name: 'substituters', value: ['http://ferry'], force: true };
  assert.deepEqual(settingRemedy(machineWith(), 'x', line).paste?.lines, ['substituters = http://ferry']);
  const nixos = settingRemedy(machineWith({ isNixos: true }), 'x', line, { name: 'a', value: '${b}"' });
  assert.deepEqual(nixos.paste?.lines, [
    'nix.settings.substituters = lib.mkForce [ "http://ferry" ];',
    'nix.settings.a = "\\${b}\\"";',
  ]);
});

test('checkSettings finds nothing wrong with what client-config gives, and each thing that differs', () => {
  assert.deepEqual(wrong(checkSettings(settings({}), machineWith())), []);
  const cases: readonly [Readonly<Record<string, string>>, Partial<Machine>, string][] = [
    [{ substitute: 'false' }, {}, 'problem substitute-off'],
    [{ substitute: 'false' }, { hasNetwork: false }, 'problem no-network-interface'],
    [{}, { hasNetwork: false }, 'warning no-network-interface'],
    [{ 'require-sigs': 'false' }, {}, 'warning require-sigs'],
    [{ 'trusted-public-keys': '' }, {}, 'problem no-keys'],
    [{ 'trusted-public-keys': 'x:notakey' }, {}, 'problem bad-key'],
    [{ 'connect-timeout': '0' }, {}, 'warning connect-timeout'],
    [{ 'connect-timeout': '15' }, {}, 'warning connect-timeout'],
    [{ fallback: 'false' }, {}, 'warning fallback'],
    [{ 'narinfo-cache-negative-ttl': '3600' }, {}, 'warning negative-ttl'],
  ];
  for (const [changes, machine, expected] of cases) {
    assert.deepEqual(wrong(checkSettings(settings(changes), machineWith(machine))), [expected]);
  }
});

test('probeCache tells a cache, its clock, a refusal, no cache, a dead port and silence apart', async () => {
  await using cache = await serveAnswers(
    { '/nix-cache-info': CACHE_INFO, '/sub/nix-cache-info': 'hello' },
    new Date(Date.now() + 3_600_000).toUTCString(),
  );
  const good = await probeCache(`${cache.url}?priority=3`, cache.tools);
  assert.equal(good.state.is, 'answering');
  assert.ok((good.aheadMs ?? 0) > 3_000_000);
  assert.equal((await probeCache(`${cache.url}/sub`, cache.tools)).state.is, 'no-cache');
  assert.equal((await probeCache(`${cache.url}/nowhere`, cache.tools)).state.is, 'no-cache');
  await using closed = await serveAnswers({ '/nix-cache-info': 401 });
  assert.deepEqual((await probeCache(closed.url, closed.tools)).state, { is: 'refusing', status: 401 });
  assert.equal((await probeCache('http://127.0.0.1:9', cache.tools)).state.is, 'unreachable');
  assert.equal((await probeCache('s3://bucket', cache.tools)).state.is, 'not-asked');
  const silent = createPlainServer(() => {});
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const address = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
  assert.equal((await probeCache(address, { ...cache.tools, timeoutMs: 200 })).state.is, 'unreachable');
  silent.close();
});

function probeOf(address: string, state: CacheProbe['state'], rest: Partial<CacheProbe> = {}): CacheProbe {
  return { address, state, tookMs: 1, info: { storeDir: '/nix/store', wantMassQuery: true, priority: 1 }, ...rest };
}

test('checkSubstituters keeps in its lines the caches that answer', () => {
  const dead = { is: 'unreachable', why: 'gone', by: 'connection' } as const;
  const options = { style: machineWith(), storeDir: '/nix/store', netrcFile: '/etc/nix/netrc' };
  const good = probeOf('http://ferry', { is: 'answering' });
  const findings = checkSubstituters(
    [good, probeOf('https://cache.nixos.org', dead), probeOf('http://old', dead)],
    options,
  );
  assert.deepEqual(wrong(findings), ['problem internet-cache', 'problem substituter-unreachable']);
  for (const { paste } of findings.slice(1)) assert.deepEqual(paste?.lines, ['substituters = http://ferry']);
  assert.deepEqual(wrong(checkSubstituters([], options)), ['problem no-substituters']);
  assert.deepEqual(wrong(checkSubstituters([probeOf('http://x', { is: 'refusing', status: 401 })], options)), [
    'problem substituter-refuses',
  ]);
  const other = probeOf(
    'http://x',
    { is: 'answering' },
    { info: { storeDir: '/gnu', wantMassQuery: true, priority: 1 } },
  );
  assert.deepEqual(wrong(checkSubstituters([other], options)), ['problem store-dir']);
  const late = probeOf('http://x', { is: 'answering' }, { aheadMs: 3_600_000 });
  assert.deepEqual(wrong(checkSubstituters([late], options)), ['warning clock']);
});

test('checkSignature judges a real narinfo as Nix would', async () => {
  const name = `/${hashPartOf(PATH)}.narinfo`;
  const judge = async (
    info: NarInfo,
    changes: { requireSigs?: boolean; publicKeys?: string[] } = {},
  ): Promise<Finding> => {
    await using cache = await serveAnswers({ [name]: formatNarInfo(info) });
    const status = {
      format: 1,
      storeDir: '/nix/store',
      publicKeys: changes.publicKeys ?? [],
      localStore: false,
      roots: [],
    } as const;
    const probe: CacheProbe = {
      address: cache.url,
      state: { is: 'answering' },
      tookMs: 1,
      server: { ...status, example: hashPartOf(PATH) },
    };
    const { requireSigs = true } = changes;
    const common = {
      ...cache.tools,
      style: machineWith(),
      storeDir: '/nix/store',
      keys: [publicKeyOf(KEY)],
      requireSigs,
    };
    const [finding] = await checkSignature(probe, common);
    return finding ?? assert.fail();
  };
  assert.equal((await judge(signNarInfo(INFO, KEY))).level, 'fine');
  assert.equal((await judge({ ...INFO, contentAddress: `fixed:r:sha256:${'0'.repeat(52)}` })).level, 'fine');
  assert.equal((await judge(INFO)).id, 'unsigned');
  assert.equal((await judge(INFO, { requireSigs: false })).level, 'warning');
  const stranger = generateSecretKey('stranger-1');
  const publicKeys = [formatPublicKey(publicKeyOf(stranger))];
  const untrusted = await judge(signNarInfo(INFO, stranger), { publicKeys });
  assert.equal(untrusted.id, 'key-not-trusted');
  assert.deepEqual(untrusted.paste?.lines, [
    `trusted-public-keys = ${publicKeys[0]} ${formatPublicKey(publicKeyOf(KEY))}`,
  ]);
  const impostor = await judge(signNarInfo(INFO, generateSecretKey('ferry-1')));
  assert.match(impostor.text, /another key, or the signature is forged/);
});

const UPSTREAM: UpstreamState = { url: 'https://cache.lan', state: 'up' };

test('explainMissing says which upstream is lost or not trusted, and leads to a want list only when there is no other cause', () => {
  const wanted = hashPartOf(PATH);
  const explain = (...upstreams: UpstreamState[]): Finding => explainMissing('http://ferry', wanted, upstreams);
  for (const missing of [
    explain(),
    explain(UPSTREAM),
    explain({ ...UPSTREAM, refused: { answers: 1, lastReason: 'x', lastPath: 'other' } }),
  ]) {
    assert.equal(missing.id, 'path-missing');
    assert.match(missing.cure ?? '', /nixferry want/);
  }
  const lost = explain(UPSTREAM, { url: 'http://other', state: 'down', reason: 'it refuses', next: 'plug it in' });
  assert.match(lost.text, /does not have a+, and cannot ask http:\/\/other \(it refuses\)$/);
  assert.equal(lost.cure, 'on the server: plug it in (it needs no restart); then ask again with --refresh');
  const refused = explain({ ...UPSTREAM, refused: { answers: 3, lastReason: 'it is unsigned', lastPath: PATH } });
  assert.equal(refused.id, 'path-refused');
  assert.match(refused.text, /https:\/\/cache\.lan has it, but it is unsigned/);
  assert.match(refused.cure ?? '', /--trusted-public-key/);
});

test('checkUpstreams judges a proxy by what it says at /readyz', async () => {
  const refused = { answers: 1, lastReason: 'it is unsigned', lastPath: PATH };
  const upstreams = [
    UPSTREAM,
    { ...UPSTREAM, refused },
    { ...UPSTREAM, state: 'down', reason: 'it refuses' },
    { ...UPSTREAM, state: 'unusable', reason: 'no binary cache', next: 'check the address' },
  ];
  const status = { format: 1, storeDir: '/nix/store', publicKeys: [], localStore: false, roots: [] };
  await using cache = await serveAnswers({
    '/nix-cache-info': CACHE_INFO,
    '/nixferry/status.json': JSON.stringify(status),
    '/readyz': JSON.stringify({ ready: true, checks: [], upstreams }),
  });
  const probe = await probeCache(cache.url, cache.tools);
  assert.deepEqual(wrong(checkUpstreams(probe)), [
    'warning upstream-refused',
    'warning upstream-down',
    'problem upstream-unusable',
  ]);
  await using other = await serveAnswers({ '/nix-cache-info': CACHE_INFO, '/readyz': 'all is well' });
  assert.deepEqual(checkUpstreams(await probeCache(other.url, other.tools)), []);
});

test('checkMemory finds what Nix remembers though it is no longer so, and nothing else', async () => {
  await using temp = await makeTempDir('doctor');
  const database = new DatabaseSync(temp.join('binary-cache-v6.sqlite'));
  database.exec(`
    CREATE TABLE BinaryCaches (id integer primary key, url text, timestamp integer, storeDir text, wantMassQuery integer, priority integer);
    CREATE TABLE NARs (cache integer, hashPart text, namePart text, url text, sigs text, ca text, timestamp integer, present integer);
  `);
  await using cache = await serveAnswers({ [`/${'a'.repeat(32)}.narinfo`]: 'x' });
  database
    .prepare('INSERT INTO BinaryCaches VALUES (1, ?, 0, ?, 1, 30), (2, ?, 0, ?, 1, 30)')
    .run(cache.url, '/nix/store', 'http://other', '/nix/store');
  const insert = database.prepare('INSERT INTO NARs VALUES (?, ?, ?, ?, ?, ?, ?, ?)');
  const look = async (): Promise<string[]> => {
    const [memory] = readNarInfoMemories(temp.path, 10_000);
    assert.ok(memory !== undefined);
    const common = { user: 'ada', caches: [`${cache.url}/`], keys: [publicKeyOf(KEY)], requireSigs: true };
    return wrong(
      await checkMemory(memory, { ...cache.tools, ...common, negativeTtlSeconds: 3600, positiveTtlSeconds: 9000 }),
    );
  };
  insert.run(1, 'a'.repeat(32), 'old', '', '', null, 1000, 0);
  insert.run(1, 'b'.repeat(32), 'missing still', '', '', null, 9000, 0);
  insert.run(1, 'c'.repeat(32), 'signed', '', 'ferry-1:AAAA other:BBBB', null, 9000, 1);
  insert.run(1, 'd'.repeat(32), 'by its contents', '', '', 'text:sha256:0', 9000, 1);
  insert.run(2, 'f'.repeat(32), 'elsewhere', '', '', null, 9000, 1);
  assert.deepEqual(await look(), []);
  database.prepare('UPDATE NARs SET timestamp = 9500 WHERE hashPart = ?').run('a'.repeat(32));
  insert.run(1, 'g'.repeat(32), 'unsigned', '', 'other:BBBB', null, 9000, 1);
  assert.deepEqual(await look(), ['problem remembered-missing', 'problem remembered-unsigned']);
  database.close();
  await writeFile(temp.join('binary-cache-v6.sqlite'), 'no database');
  assert.deepEqual(await look(), ['warning memory-unreadable']);
});

test('checkUser says when what a user sets does not count', () => {
  const system = settings({
    substituters: 'http://ferry',
    'trusted-users': 'root @wheel',
    'trusted-substituters': 'http://ok',
  });
  const own = settings({ substituters: 'http://mine' });
  const daemon = { isRoot: false, daemonSocket: '/socket' };
  assert.deepEqual(wrong(checkUser({ own, system }, machineWith(daemon))), []);
  const outsider = machineWith({ ...daemon, groupNames: [] });
  assert.deepEqual(wrong(checkUser({ own, system }, outsider)), ['problem trusted-users']);
  assert.deepEqual(
    wrong(checkUser({ own: settings({ substituters: 'http://ok http://ferry' }), system }, outsider)),
    [],
  );
  assert.deepEqual(checkUser({ own, system }, machineWith({ isRoot: true, daemonSocket: '/socket' })), []);
});

test('checkMirror looks at key, rotation, damage and serving', async () => {
  await using temp = await makeTempDir('doctor');
  const directory = temp.join('mirror');
  assert.equal(await isMirrorFolder(directory), false);
  await using cache = await serveAnswers({ '/readyz': '{}' });
  const { http, signal, timeoutMs } = cache.tools;
  const look = async (serverUrl: string): Promise<readonly Finding[]> =>
    checkMirror({ directory, serverUrl, http, timeoutMs, signal });
  {
    await using mirror = await openMirror(directory, { access: 'write', create: true });
    await rotateMirrorKey(mirror, 'ferry-2');
    const busy = await look(cache.url);
    assert.match(busy.find(({ id }) => id === 'lock')?.text ?? '', new RegExp(`process ${process.pid}`));
  }
  assert.equal(await isMirrorFolder(directory), true);
  const good = await look(cache.url);
  assert.deepEqual(wrong(good), []);
  assert.ok(good.some(({ id }) => id === 'key-rotation') && !good.some(({ id }) => id === 'lock'));
  const upstreams = [{ url: 'http://up', state: 'unusable', reason: 'no binary cache' }];
  await using proxy = await serveAnswers({ '/readyz': JSON.stringify({ ready: true, upstreams }) });
  assert.deepEqual(wrong(await look(proxy.url)), ['problem upstream-unusable']);
  await chmod(join(directory, '.nixferry/keys/secret'), 0o644);
  await mkdir(join(directory, '.nixferry/damaged'), { recursive: true });
  await writeFile(join(directory, '.nixferry/damaged', `${'a'.repeat(32)}.narinfo`), '');
  await using unready = await serveAnswers({ '/readyz': 503 });
  assert.deepEqual(wrong(await look(unready.url)), ['problem mirror-damaged', 'problem key-file', 'problem serving']);
  assert.ok(wrong(await look('http://127.0.0.1:9')).includes('warning serving'));
});
