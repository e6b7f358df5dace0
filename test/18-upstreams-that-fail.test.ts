// The caching proxy in front of upstreams that break, lie, dawdle and die: no client ever takes wrong or short data for the whole.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { openMirror } from '../src/mirror/mirror.ts';
import { verifyMirror } from '../src/mirror/verify.ts';
import { formatContentAddress, hashPartOf, makeFixedOutputPath } from '../src/nix/index.ts';
import { type FakePath, makeFakePath } from './support/fake-paths.ts';
import {
  bodyOf,
  fetchNar,
  narInfoOf,
  openProxiedMirror,
  type ProxiedMirror,
  published,
  withWrongSignatures,
} from './support/proxied-mirror.ts';

const LARGE_BYTES = 6_000_000;

function makeLarge(name: string, sizeBytes = LARGE_BYTES): Promise<FakePath> {
  return makeFakePath(name, { contents: randomBytes(sizeBytes), compression: 'zstd' });
}

async function assertSound(proxied: ProxiedMirror): Promise<void> {
  await using mirror = await openMirror(proxied.mirrorDirectory, { access: 'read' });
  const { damaged, hidden } = await verifyMirror({ mirror });
  assert.deepEqual({ damaged, hidden }, { damaged: [], hidden: [] });
}

type Info = FakePath['info'];

function withoutFile({ storePath, url, compression, narHash, narSizeBytes, references, signatures }: Info): Info {
  return { storePath, url, compression, narHash, narSizeBytes, references, signatures };
}

/** A path whose name follows from its contents. */
async function makeAddressed(name: string): Promise<FakePath> {
  const fake = await makeFakePath(name, { compression: 'zstd' });
  const { narHash } = fake.info;
  const storePath = makeFixedOutputPath('nar', narHash, name, '/nix/store');
  const contentAddress = formatContentAddress({ method: 'nar', hash: narHash });
  return { ...fake, info: { ...fake.info, storePath, contentAddress } };
}

function addressOf({ info: { storePath, contentAddress = '' } }: FakePath): Pick<Info, 'storePath' | 'contentAddress'> {
  return { storePath, contentAddress };
}

test('a transfer that breaks in the middle goes on where it broke', async () => {
  const large = await makeLarge('broken');
  await using proxied = await openProxiedMirror({ paths: [large] });
  proxied.upstream.misbehave({ path: /^\/nar\//, times: 3, fault: { kind: 'break', afterBytes: 1_500_000 } });
  const { response, body } = await fetchNar(proxied, large);
  assert.equal(response.headers.get('content-length'), String(large.file.length));
  assert.ok(body !== 'broken' && body.equals(large.file));
  await published(proxied, large);
  await assertSound(proxied);
});

test('wrong bytes are never sent whole, nothing of them stays, and the next client gets a fresh try', async () => {
  for (const size of [20_000, LARGE_BYTES]) {
    const fake = await makeLarge(`wrong-${size}`, size);
    await using proxied = await openProxiedMirror({ paths: [fake] });
    proxied.upstream.misbehave({ path: /^\/nar\//, times: 1, fault: { kind: 'corrupt', atByte: size / 2 } });
    const first = await fetchNar(proxied, fake);
    if (first.response.status === 200) assert.equal(first.body, 'broken');
    else assert.equal(first.response.status, 404);
    const folder = path.join(proxied.mirrorDirectory, '.nixferry/proxy');
    assert.deepEqual(await readdir(path.join(folder, 'partial')), []);
    assert.deepEqual(await readdir(path.join(folder, 'held')), []);
    const second = await fetchNar(proxied, fake);
    assert.ok(second.body !== 'broken' && second.body.equals(fake.file));
  }
});

test('wrong sizes are never sent as a whole: too short, too long, and another FileSize than there is', async () => {
  const faults = [
    { kind: 'truncate', afterBytes: 3_000_000 },
    { kind: 'lie', byBytes: 1000 },
    { kind: 'lie', byBytes: -1000 },
  ] as const;
  for (const fault of faults) {
    const fake = await makeLarge(`size-${fault.kind}`);
    await using proxied = await openProxiedMirror({ paths: [fake] });
    proxied.upstream.misbehave({ path: /^\/nar\//, fault });
    const { response, body } = await fetchNar(proxied, fake);
    const isWhole = body !== 'broken' && body.equals(fake.file);
    assert.ok(response.status === 404 || body === 'broken' || isWhole, `${JSON.stringify(fault)} ${response.status}`);
    proxied.upstream.behave();
    const again = await fetchNar(proxied, fake);
    assert.ok(again.body !== 'broken' && again.body.equals(fake.file));
  }
  for (const by of [-500, 500]) {
    const fake = await makeLarge(`stated-${by}`);
    const change = (info: FakePath['info']) => ({ ...info, fileSizeBytes: (info.fileSizeBytes ?? 0) + by });
    await using proxied = await openProxiedMirror({ paths: [fake], change });
    const { response, body } = await fetchNar(proxied, fake);
    assert.ok(response.status === 404 || body === 'broken');
    assert.deepEqual(await readdir(path.join(proxied.mirrorDirectory, 'nar')), []);
  }
});

test('50 clients that ask for the same cold path make one download, and a client that comes late or leaves changes nothing', async () => {
  const fake = await makeLarge('wanted', 3_000_000);
  await using proxied = await openProxiedMirror({ paths: [fake], workers: 2 });
  const { url } = await narInfoOf(proxied, fake);
  const leaving = new AbortController();
  const clients = Array.from({ length: 50 }, async (_, index) => {
    if (index % 5 === 0) await sleep(index * 3);
    if (index % 10 === 1) {
      const gone = proxied.ask(`/${url}`, { signal: leaving.signal }).then(bodyOf, () => 'broken' as const);
      leaving.abort();
      return gone;
    }
    return bodyOf(await proxied.ask(`/${url}`));
  });
  const bodies = await Promise.all(clients);
  const whole = bodies.filter((body) => body !== 'broken');
  assert.equal(whole.length, 45);
  assert.ok(whole.every((body) => body.equals(fake.file)));
  assert.equal(proxied.upstream.count(/^\/nar\//), 1);
  assert.equal(proxied.upstream.count(/narinfo$/), 1);
});

test('a client sees bytes of a large NAR long before its end, but not its end before it is verified', async () => {
  const fake = await makeLarge('slow');
  await using proxied = await openProxiedMirror({ paths: [fake] });
  const { url } = await narInfoOf(proxied, fake);
  proxied.upstream.misbehave({ path: /^\/nar\//, times: 1, fault: { kind: 'stall', afterBytes: 3_000_000 } });
  const response = await proxied.ask(`/${url}`);
  const reader = response.body?.getReader();
  let received = 0;
  while (received < 2_900_000) {
    const piece = await reader?.read();
    assert.ok(piece?.done === false);
    received += piece.value.length;
  }
  assert.ok(received <= 3_000_000);
  await reader?.cancel();
});

test('HEAD and Range work on a NAR that is not here yet', async () => {
  const fake = await makeLarge('parts');
  const other = await makeLarge('other-parts');
  await using proxied = await openProxiedMirror({ paths: [fake, other] });
  const { url } = await narInfoOf(proxied, fake);
  const head = await proxied.ask(`/${url}`, { method: 'HEAD' });
  assert.equal(head.status, 200);
  assert.equal(head.headers.get('content-length'), String(fake.file.length));
  assert.equal(head.headers.get('accept-ranges'), 'bytes');
  assert.equal(proxied.upstream.count(/^\/nar\//), 0);
  const ranges: [string, Buffer][] = [
    ['bytes=100-199', fake.file.subarray(100, 200)],
    ['bytes=3000000-', fake.file.subarray(3_000_000)],
    ['bytes=-10', fake.file.subarray(-10)],
  ];
  for (const [range, expected] of ranges) {
    const { response, body } = await fetchNar(proxied, fake, { headers: { range } });
    assert.equal(response.status, 206);
    assert.ok(body !== 'broken' && body.equals(expected), range);
  }
  const beyond = await fetchNar(proxied, other, { headers: { range: 'bytes=99999999-' } });
  assert.equal(beyond.response.status, 416);
});

test('an upstream that asks to wait is waited for, and 429 reaches no client', async () => {
  const fake = await makeLarge('busy');
  await using proxied = await openProxiedMirror({ paths: [fake] });
  proxied.upstream.misbehave(
    { path: /narinfo$/, times: 1, fault: { kind: 'status', status: 429, retryAfter: '1' } },
    { path: /^\/nar\//, times: 1, fault: { kind: 'status', status: 429, retryAfter: '1' } },
  );
  const beganMs = performance.now();
  const { body } = await fetchNar(proxied, fake);
  assert.ok(body !== 'broken' && body.equals(fake.file));
  assert.ok(performance.now() - beganMs >= 1900);
});

test('a narinfo that does not come in time is a 404, and a dead upstream is noticed once', async () => {
  const [fake, other] = [await makeFakePath('late'), await makeFakePath('other')];
  await using proxied = await openProxiedMirror({ paths: [fake, other] });
  proxied.upstream.misbehave({ path: /narinfo$|cache-info/, fault: { kind: 'stall' } });
  const name = `/${hashPartOf(fake.info.storePath)}.narinfo`;
  const beganMs = performance.now();
  assert.equal((await proxied.ask(name)).status, 404);
  assert.ok(performance.now() - beganMs < 8000);
  const asked = proxied.upstream.count(/narinfo$/);
  for (let round = 0; round < 50; round++) {
    const startedMs = performance.now();
    assert.equal((await proxied.ask(`/${hashPartOf(other.info.storePath)}.narinfo`)).status, 404);
    assert.ok(performance.now() - startedMs < 1000);
  }
  assert.equal(proxied.upstream.count(/narinfo$/), asked);
  const { upstreams } = (await (await proxied.ask('/readyz')).json()) as { upstreams: { state: string }[] };
  assert.equal(upstreams[0]?.state, 'down');
});

test('it starts without a line, serves what it holds, answers the rest at once, and needs no restart when the line is back', async () => {
  const [held, cold] = [await makeLarge('held'), await makeLarge('cold')];
  await using proxied = await openProxiedMirror({ paths: [held, cold] });
  await fetchNar(proxied, held);
  await published(proxied, held);
  const { url } = await narInfoOf(proxied, cold);
  await proxied.upstream.goDead();
  await proxied.restart();
  assert.ok((await fetchNar(proxied, held)).body !== 'broken');
  await proxied.ask('/nix-cache-info');
  for (const name of [
    `/${hashPartOf(cold.info.storePath)}.narinfo`,
    `/${url}`,
    `/log/${hashPartOf(cold.info.storePath)}-x.drv`,
  ]) {
    const times: number[] = [];
    for (let round = 0; round < 9; round++) {
      const beganMs = performance.now();
      const response = await proxied.ask(name);
      assert.equal(response.status, 404);
      await response.text();
      times.push(performance.now() - beganMs);
    }
    // The machine may be busy; the median tells.
    assert.ok((times.toSorted((a, b) => a - b)[4] ?? 0) < 50, `${name}: ${times.join(' ')}`);
  }
  await proxied.upstream.revive();
  for (let tries = 0; (await proxied.ask(`/${url}`)).status !== 200; tries++) {
    assert.ok(tries < 100, 'the line is back, and nobody noticed');
    await sleep(100);
  }
  assert.ok((await fetchNar(proxied, cold)).body !== 'broken');
});

test('narinfos that were only asked for stay private, and are gone when their upstream is', async () => {
  const fake = await makeFakePath('probed');
  await using proxied = await openProxiedMirror({ paths: [fake] });
  await narInfoOf(proxied, fake);
  const names = await readdir(proxied.mirrorDirectory);
  assert.ok(!names.some((name) => name.endsWith('.narinfo')));
  await proxied.upstream.goDead();
  const name = `/${hashPartOf(fake.info.storePath)}.narinfo`;
  // Asking for something new is what finds out that the line is dead.
  await proxied.ask(`/${hashPartOf((await makeFakePath('another')).info.storePath)}.narinfo`);
  for (let tries = 0; (await proxied.ask(name)).status !== 404; tries++) {
    assert.ok(tries < 100);
    await sleep(100);
  }
});

test('a path is published only with all that it refers to, and is served until then', async () => {
  const reference = await makeFakePath('reference');
  const referrer = await makeFakePath('referrer', { references: [reference.info.storePath] });
  await using proxied = await openProxiedMirror({ paths: [reference, referrer] });
  assert.ok((await fetchNar(proxied, referrer)).body !== 'broken');
  await proxied.restart();
  assert.ok((await fetchNar(proxied, referrer)).body !== 'broken');
  assert.equal(proxied.upstream.count(/^\/nar\//), 1);
  assert.ok(!(await readdir(proxied.mirrorDirectory)).some((name) => name.endsWith('.narinfo')));
  await fetchNar(proxied, reference);
  await published(proxied, referrer);
  await published(proxied, reference);
  await assertSound(proxied);
});

test('with look-ahead all that a path refers to is fetched behind it', async () => {
  const deepest = await makeFakePath('deepest');
  const middle = await makeFakePath('middle', { references: [deepest.info.storePath] });
  const top = await makeFakePath('top', { references: [middle.info.storePath] });
  await using proxied = await openProxiedMirror({ paths: [deepest, middle, top], proxy: { lookAhead: true } });
  await fetchNar(proxied, top);
  for (const fake of [top, middle, deepest]) await published(proxied, fake);
  assert.equal(proxied.upstream.count(/^\/nar\//), 3);
});

test('what no trusted key signed is not passed on; what its content address proves is, and is signed only when that is seen to hold', async () => {
  const stranger = await makeFakePath('stranger');
  const [proven, forged] = [await makeAddressed('proven'), await makeAddressed('forged')];
  // Its file is another one's: the address explains the path's name, but not these contents.
  const other = await makeFakePath('something-else', { compression: 'zstd' });
  const wrong = { ...other, info: { ...other.info, ...addressOf(forged) } };
  await using proxied = await openProxiedMirror({ paths: [stranger, proven, wrong], change: withWrongSignatures });
  assert.equal((await proxied.ask(`/${hashPartOf(stranger.info.storePath)}.narinfo`)).status, 404);
  assert.deepEqual((await narInfoOf(proxied, proven)).signatures, []);
  assert.ok((await fetchNar(proxied, proven)).body !== 'broken');
  await published(proxied, proven);
  assert.match((await narInfoOf(proxied, proven)).signatures.join(' '), /^mirror-1:/);
  const { response, body } = await fetchNar(proxied, wrong);
  assert.ok(response.status === 404 || body === 'broken');
  assert.ok(!(await readdir(proxied.mirrorDirectory)).includes(`${hashPartOf(wrong.info.storePath)}.narinfo`));
});

test('an upstream that states neither FileHash nor FileSize is passed on, and the name of the NAR stays valid', async () => {
  const fake = await makeLarge('unstated');
  await using proxied = await openProxiedMirror({ paths: [fake], change: withoutFile });
  const { url } = await narInfoOf(proxied, fake);
  const first = await fetchNar(proxied, fake);
  assert.equal(first.response.headers.get('content-length'), null);
  assert.ok(first.body !== 'broken' && first.body.equals(fake.file));
  await published(proxied, fake);
  for (const round of ['with its upstream', 'without']) {
    const response = await proxied.ask(`/${url}`, { headers: { range: 'bytes=10-19' } });
    assert.equal(response.status, 206, round);
    assert.ok(Buffer.from(await response.arrayBuffer()).equals(fake.file.subarray(10, 20)));
    await proxied.upstream.goDead();
    await rm(path.join(proxied.mirrorDirectory, '.nixferry/proxy/offers.sqlite'), { force: true });
    await proxied.restart();
    if (round === 'without') await proxied.upstream.revive();
  }
  await assertSound(proxied);
});

test('with sign off, narinfos keep the signatures that they have and get no other, before and after they are published', async () => {
  const fake = await makeFakePath('unsigned');
  await using proxied = await openProxiedMirror({ paths: [fake], proxy: { sign: false } });
  const names = async () => (await narInfoOf(proxied, fake)).signatures.map((signature) => signature.split(':')[0]);
  assert.deepEqual(await names(), ['upstream-1']);
  await fetchNar(proxied, fake);
  await published(proxied, fake);
  assert.deepEqual(await names(), ['upstream-1']);
});

test('while somebody else writes to the mirror, paths are served and wait to be published', async () => {
  const fake = await makeFakePath('waiting');
  await using proxied = await openProxiedMirror({ paths: [fake] });
  {
    await using writer = await openMirror(proxied.mirrorDirectory, { access: 'write' });
    assert.equal(writer.access, 'write');
    assert.ok((await fetchNar(proxied, fake)).body !== 'broken');
    await sleep(500);
    assert.ok(!(await readdir(proxied.mirrorDirectory)).some((name) => name.endsWith('.narinfo')));
    assert.ok((await fetchNar(proxied, fake)).body !== 'broken');
  }
  await published(proxied, fake);
});

test('the upstream with the lower priority is asked first, and another one when that one fails', async () => {
  const fake = await makeLarge('twice');
  await using second = await openProxiedMirror({ paths: [fake] });
  await using first = await openProxiedMirror({ paths: [fake] });
  await first.restart({ upstreams: [`${second.upstream.url}?priority=41`, first.upstream.url] });
  first.upstream.misbehave({ path: /^\/nar\//, fault: { kind: 'status', status: 404 } });
  const { body } = await fetchNar(first, fake);
  assert.ok(body !== 'broken' && body.equals(fake.file));
  assert.equal(second.upstream.count(/^\/nar\//), 1);
  assert.equal(first.upstream.count(/narinfo$/), 1);
});

test('logs, listings and realisations of an upstream are passed on, realisations signed by us only if they are signed by who is trusted', async () => {
  const fake = await makeFakePath('logged');
  await using proxied = await openProxiedMirror({ paths: [fake] });
  const hashPart = hashPartOf(fake.info.storePath);
  await writeFile(path.join(proxied.upstreamDirectory, `${hashPart}.ls`), '{"version":1,"root":{"type":"directory"}}');
  assert.match(await (await proxied.ask(`/${hashPart}.ls`)).text(), /"version":1/);
  assert.equal((await proxied.ask(`/log/${hashPart}-nothing.drv`)).status, 404);
});

test('a fetcher that is killed is replaced, and whoever waited for it is told', async () => {
  const fake = await makeLarge('survivor');
  await using proxied = await openProxiedMirror({ paths: [fake] });
  const { url } = await narInfoOf(proxied, fake);
  proxied.upstream.misbehave({ path: /^\/nar\//, times: 1, fault: { kind: 'stall', afterBytes: 3_000_000 } });
  const response = await proxied.ask(`/${url}`);
  const { pid } = proxied.server.fetcher ?? {};
  assert.ok(pid !== undefined);
  process.kill(pid, 'SIGKILL');
  assert.equal(await bodyOf(response), 'broken');
  // The next question finds the new one.
  const again = await fetchNar(proxied, fake);
  assert.ok(again.body !== 'broken' && again.body.equals(fake.file));
  await published(proxied, fake);
  await assertSound(proxied);
});
