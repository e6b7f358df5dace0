import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fakeStorePath, makeFakePath } from '../../test/support/fake-paths.ts';
import { hashPartOf, type StorePath } from '../nix/store-path.ts';
import { LookAhead, type LookAheadOptions } from './look-ahead.ts';
import { makeOffer } from './offer.ts';

test('LookAhead fetches what is referred to all the way down, each once, and nothing behind what is visible', async () => {
  const visible = fakeStorePath('visible');
  const leaf = await makeFakePath('leaf');
  const middle = await makeFakePath('middle', { references: [leaf.info.storePath, visible, fakeStorePath('middle')] });
  const fakes = new Map([leaf, middle].map((fake) => [hashPartOf(fake.info.storePath), fake.info]));
  const fetched: StorePath[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const options: LookAheadOptions = {
    offers: {
      find: async (hashPart) => {
        const info = fakes.get(hashPart);
        const terms = { trustedKeys: [], signingKeys: [] };
        return info === undefined ? undefined : { ...makeOffer(info, 'http://up', terms), seenMs: 0 };
      },
    },
    downloads: {
      fetch: async ({ info }) => {
        fetched.push(info.storePath);
        if (info.storePath === leaf.info.storePath) resolve();
      },
    },
    held: { get: () => undefined },
    isVisible: async (path) => path === visible || fetched.includes(path),
    signal: new AbortController().signal,
  };
  new LookAhead(options).want([middle.info.storePath, visible, fakeStorePath('nowhere')]);
  await promise;
  assert.deepEqual(fetched, [middle.info.storePath, leaf.info.storePath]);
});
