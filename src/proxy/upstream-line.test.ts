import assert from 'node:assert/strict';
import { test } from 'node:test';
import { instantClock } from '../../test/support/instant-clock.ts';
import { startUnreliableServer } from '../../test/support/unreliable-server.ts';
import { createHttpClient } from '../base/http-client.ts';
import type { HashPart } from '../nix/store-path.ts';
import { UpstreamDown, UpstreamLine } from './upstream-line.ts';

const SOME_PATH = '0'.repeat(32) as HashPart;
const CACHE_INFO = { body: 'StoreDir: /nix/store\nPriority: 33\n' };

async function openLine(address: (url: string) => string = (url) => url) {
  const server = await startUnreliableServer({
    respond: (path) => (path === '/nix-cache-info' ? CACHE_INFO : undefined),
  });
  const clock = instantClock();
  const http = createHttpClient({ clock, hostDownTimes: { hostDownMs: 0, hostDownCeilingMs: 0 } });
  const stopping = new AbortController();
  const states: string[] = [];
  const { promise: cameBack, resolve } = Promise.withResolvers<void>();
  const line = new UpstreamLine({
    address: address(server.url),
    http,
    storeDir: '/nix/store',
    clock,
    signal: stopping.signal,
    onChange: ({ state: { state } }) => {
      states.push(state);
      if (states.join(' ') === 'up down up') resolve();
    },
    askTimeoutMs: 500,
  });
  const ask = () => line.ask((upstream, signal) => upstream.narInfo(SOME_PATH, signal));
  const close = async (): Promise<void> => {
    stopping.abort();
    await http[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
  };
  return { line, server, states, ask, cameBack, [Symbol.asyncDispose]: close };
}

test('UpstreamLine is up when the upstream answers, and has its priority unless the address says another', async () => {
  await using plain = await openLine();
  await plain.line.start();
  assert.deepEqual(plain.line.state, { url: plain.server.url, state: 'up' });
  assert.equal(plain.line.priority, 33);
  assert.equal(await plain.ask(), undefined);
  await using other = await openLine((url) => `${url}?priority=7`);
  await other.line.start();
  assert.equal(other.line.priority, 7);
});

test('UpstreamLine finds a dead upstream once, asks it no more, and notices by itself when it is back', async () => {
  await using opened = await openLine();
  await opened.line.start();
  await opened.server.goDead();
  await assert.rejects(opened.ask());
  assert.equal(opened.line.state.state, 'down');
  await assert.rejects(opened.ask(), UpstreamDown);
  await opened.server.revive();
  await opened.cameBack;
  assert.equal(await opened.ask(), undefined);
});

test('UpstreamLine counts as down when nothing comes within the time, and after several failures in a row', async () => {
  await using silent = await openLine();
  await silent.line.start();
  silent.server.misbehave({ path: /./, fault: { kind: 'stall' } });
  await assert.rejects(silent.ask());
  assert.match(silent.line.state.reason ?? '', /did not answer within/);

  await using failing = await openLine();
  await failing.line.start();
  failing.server.misbehave({ path: /narinfo$/, fault: { kind: 'status', status: 500 } });
  for (let round = 1; round <= 5; round++) {
    assert.ok(failing.line.isUp, `after ${round - 1} failures`);
    await assert.rejects(failing.ask());
  }
  assert.deepEqual(failing.states.slice(0, 2), ['up', 'down']);
});
