// What a caching proxy says of itself, to people and programs: how its upstreams are, what it has fetched, and why it lacks something.

import assert from 'node:assert/strict';
import { cp, mkdir } from 'node:fs/promises';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createHttpClient } from '../src/base/http-client.ts';
import { parseServerStatus } from '../src/mirror/server-status.ts';
import type { UpstreamState } from '../src/mirror/upstream-state.ts';
import { hashPartOf } from '../src/nix/index.ts';
import type { FetchedAmount, ProxyFacts } from '../src/proxy/protocol.ts';
import { checkSignature } from '../src/site/doctor/check-signatures.ts';
import { probeCache } from '../src/site/doctor/probe-cache.ts';
import { type FakePath, makeFakePath } from './support/fake-paths.ts';
import { fetchNar, openProxiedMirror, published, withWrongSignatures } from './support/proxied-mirror.ts';

test('an upstream that is no binary cache is told from one that is off, with what to do, and the server starts all the same', async () => {
  const fake = await makeFakePath('found-later');
  await using proxied = await openProxiedMirror({ paths: [fake] });
  const [missing, empty] = [proxied.temp.join('not-mounted'), proxied.temp.join('empty')];
  await mkdir(empty);
  const other = `${proxied.upstream.url}/elsewhere`;
  const upstreams = [other, `file://${missing}`, `file://${empty}`, 'http://127.0.0.1:9'];
  await proxied.restart({ upstreams });
  const { upstreams: states } = (await (await proxied.ask('/readyz')).json()) as { upstreams: UpstreamState[] };
  assert.deepEqual(states, proxied.server.upstreams);
  const expected: [string, string, RegExp, RegExp][] = [
    [other, 'unusable', /^no binary cache, it has no nix-cache-info$/, /check the address/],
    [`file://${missing}`, 'unusable', /^there is no such folder$/, /the medium is mounted/],
    [`file://${empty}`, 'unusable', /^no binary cache, it has no nix-cache-info$/, /check the address/],
    ['http://127.0.0.1:9', 'down', /refuses connections/, /./],
  ];
  const page = await (await proxied.ask('/')).text();
  for (const [index, [url, state, reason, next]] of expected.entries()) {
    const found = states[index];
    assert.deepEqual({ url: found?.url, state: found?.state }, { url, state });
    assert.match(found?.reason ?? '', reason);
    assert.match(found?.next ?? '', next);
    assert.ok(page.includes(`fetches: ${url} (${state}: ${found?.reason}; next: ${found?.next})`), page);
  }
  // A disk that is mounted later is found without a restart.
  await cp(proxied.upstreamDirectory, missing, { recursive: true });
  const name = `/${hashPartOf(fake.info.storePath)}.narinfo`;
  for (let tries = 0; (await proxied.ask(name)).status !== 200; tries++) {
    assert.ok(tries < 100, 'the folder is there, and nobody noticed');
    await sleep(100);
  }
});

function amountOf(...paths: FakePath[]): FetchedAmount {
  return { paths: paths.length, fileBytes: paths.reduce((sum, { file }) => sum + file.length, 0) };
}

test('the server says what was fetched, what waits, and a path to try out, though there is no root', async () => {
  const reference = await makeFakePath('referred-to');
  const referrer = await makeFakePath('refers', { references: [reference.info.storePath] });
  await using proxied = await openProxiedMirror({ paths: [reference, referrer] });
  await fetchNar(proxied, referrer);
  const facts = async () => (await (await proxied.ask('/readyz')).json()) as ProxyFacts;
  assert.partialDeepStrictEqual(await facts(), { fetched: amountOf(referrer), waiting: amountOf(referrer) });
  await fetchNar(proxied, reference);
  await published(proxied, referrer);
  for (let tries = 0; (await facts()).waiting.paths > 0; tries++) {
    assert.ok(tries < 100, 'what is published waits no more');
    await sleep(20);
  }
  assert.partialDeepStrictEqual(await facts(), { fetched: amountOf(reference, referrer), waiting: amountOf() });
  const status = parseServerStatus(Buffer.from(await (await proxied.ask('/nixferry/status.json')).arrayBuffer()));
  assert.deepEqual(status?.holds, amountOf(reference, referrer));
  assert.equal((await proxied.ask(`/${status?.example}.narinfo`)).status, 200);
  const text = await (await proxied.ask('/')).text();
  assert.match(text, /\n {9}2 paths \(.* B\) fetched since the start\nholds: {3}2 paths \(.* B\)\n\n0 roots\n/);
});

test('doctor says why a proxy does not have a path: nobody has it, nobody trusts it, or the line is down', async () => {
  const stranger = await makeFakePath('strange');
  await using proxied = await openProxiedMirror({ paths: [stranger], change: withWrongSignatures });
  await using http = createHttpClient({ attempts: 1, environment: {} });
  const tools = { http, timeoutMs: 8000, signal: new AbortController().signal, behindProxy: false };
  const style = { isNixos: false, daemonSocket: undefined };
  const why = async ({ info }: FakePath): Promise<string> => {
    const probe = await probeCache(proxied.server.url, tools);
    const options = { ...tools, style, storeDir: '/nix/store', keys: [], requireSigs: true };
    const [finding] = await checkSignature(probe, { ...options, wanted: hashPartOf(info.storePath) });
    return `${finding?.id}: ${finding?.text}; ${finding?.cure}`;
  };
  const { url } = proxied.upstream;
  assert.match(
    await why(await makeFakePath('nowhere')),
    new RegExp(`^path-missing: .*, nor has ${url}, .*nixferry want`),
  );
  assert.match(await why(stranger), new RegExp(`^path-refused: .*${url} has it, but .*--trusted-public-key`));
  await proxied.upstream.goDead();
  const lost = await why(await makeFakePath('never-asked'));
  assert.match(lost, new RegExp(`^path-missing: .*, and cannot ask ${url} \\(the host refuses.*on the server: check`));
  assert.doesNotMatch(lost, /nixferry want/);
});
