import type { HashPart } from '../nix/store-path.ts';
import type { LocalStore } from './local-store.ts';
import type { NarInfoCache, ServedNarInfo } from './narinfo-cache.ts';

/** All narinfos that clients may have, wherever they come from. */
export type NarInfoOffers = Pick<NarInfoCache, 'atHand' | 'find'>;

/** What the mirror holds, and after it what the store of the server has. The mirror alone is passed on as it is: its hits are the hottest path there is. */
export function offerNarInfos(mirror: NarInfoCache, store: LocalStore | undefined): NarInfoOffers {
  if (store === undefined) return mirror;
  return {
    atHand: (text) => mirror.atHand(text),
    find: async (hashPart: HashPart): Promise<ServedNarInfo | undefined> =>
      (await mirror.find(hashPart)) ?? store.find(hashPart),
  };
}
