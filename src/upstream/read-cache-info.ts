import { NixferryError } from '../base/errors.ts';
import { type CacheInfo, NixFormatError, parseCacheInfo } from '../nix/index.ts';

/** Reads what stands in a cache's `nix-cache-info`; throws `upstream-unreachable` when it is missing or malformed. */
export function readCacheInfo(bytes: Uint8Array | undefined, shownUrl: string): CacheInfo {
  const hint = 'check the address: a binary cache has a file nix-cache-info at its top';
  if (bytes === undefined) {
    throw new NixferryError('upstream-unreachable', `${shownUrl}: no binary cache, it has no nix-cache-info`, { hint });
  }
  try {
    // A captive portal answers everything with a page of its own, in which Nix's parser would find nothing amiss.
    if (bytes.length > 0 && !KNOWN_KEY.test(Buffer.from(bytes).toString('latin1'))) {
      throw new NixFormatError('nix-cache-info', 'it holds none of the keys of a nix-cache-info');
    }
    return parseCacheInfo(bytes);
  } catch (error) {
    if (!(error instanceof NixFormatError)) throw error;
    throw new NixferryError('upstream-unreachable', `${shownUrl}: no binary cache, ${error.message}`, {
      hint,
      cause: error,
    });
  }
}

const KNOWN_KEY = /^(?:StoreDir|WantMassQuery|Priority):/m;
