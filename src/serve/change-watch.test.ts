import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ChangeWatch } from './change-watch.ts';

function makeWatch() {
  const state = { token: 'a' as string | undefined, nowMs: 0, reads: 0 };
  const readToken = async (): Promise<string | undefined> => {
    state.reads++;
    return state.token;
  };
  const watch = new ChangeWatch(readToken, { checkMs: 250, settleMs: 3000, now: () => state.nowMs });
  return { state, watch };
}

test('ChangeWatch keeps the version when nothing changes after it has settled', async () => {
  const { state, watch } = makeWatch();
  await watch.version();
  state.nowMs = 4000;
  const settled = await watch.version();
  state.nowMs = 90_000;
  assert.equal(await watch.version(), settled);
});

test('ChangeWatch looks once when it is asked often within the check time', async () => {
  const { state, watch } = makeWatch();
  await Promise.all([watch.version(), watch.version()]);
  state.nowMs = 249;
  assert.equal(typeof watch.version(), 'number');
  assert.equal(state.reads, 1);
});

test('ChangeWatch moves on when the token changed, as soon as the check time is over', async () => {
  const { state, watch } = makeWatch();
  await watch.version();
  state.nowMs = 10_000;
  const before = await watch.version();
  state.token = 'b';
  state.nowMs += 250;
  assert.notEqual(await watch.version(), before);
});

test('ChangeWatch moves on for the settling time when two changes may share one tick of the clock', async () => {
  const { state, watch } = makeWatch();
  const first = await watch.version();
  state.nowMs = 2000;
  assert.notEqual(await watch.version(), first);
});

test('ChangeWatch moves on at each check when the storage cannot tell', async () => {
  const { state, watch } = makeWatch();
  state.token = undefined;
  await watch.version();
  state.nowMs = 60_000;
  const before = await watch.version();
  state.nowMs = 120_000;
  assert.notEqual(await watch.version(), before);
});
