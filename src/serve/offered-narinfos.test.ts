import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LIMITS } from '../base/limits.ts';
import type { ProxyClient } from '../proxy/proxy-client.ts';
import { narInfoOfAnswer } from './express/express-answer.ts';
import { OfferedNarInfos } from './offered-narinfos.ts';

const nothing = { atHand: () => undefined, find: async () => undefined };

test('OfferedNarInfos has at hand what it asked for, for a while, and not after an upstream is lost', async () => {
  let nowMs = 0;
  const listeners: (() => void)[] = [];
  const lose = (): void => listeners.forEach((listener) => listener());
  const proxy = {
    narInfo: async (hashPart: string) => (hashPart === 'here' ? Buffer.from('the narinfo') : undefined),
    onOffersLost: (listener: () => void) => void listeners.push(listener),
  } as unknown as ProxyClient;
  const offered = new OfferedNarInfos(nothing, proxy, { maxBytes: 1_000_000, now: () => nowMs });
  assert.equal(offered.atHand('here'), undefined);
  assert.equal(await offered.ask('elsewhere'), undefined);
  assert.equal(narInfoOfAnswer((await offered.ask('here'))?.answer ?? '').toString(), 'the narinfo');
  assert.ok(offered.atHand('here') !== undefined);
  nowMs = LIMITS.servedOfferMs + 1;
  assert.equal(offered.atHand('here'), undefined);
  await offered.ask('here');
  lose();
  assert.equal(offered.atHand('here'), undefined);
  const asking = offered.ask('here');
  lose();
  await asking;
  assert.equal(offered.atHand('here'), undefined);
});

test('OfferedNarInfos is the mirror alone when there is no proxy', async () => {
  const offered = new OfferedNarInfos(nothing, undefined, { maxBytes: 1_000_000 });
  assert.equal(offered.atHand('x'), undefined);
  assert.equal(await offered.ask('x'), undefined);
});
