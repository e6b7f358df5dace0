import { readNixSetting } from '../evaluate/read-setting.ts';

/** The caches that Nix here fetches from, as far as they may be mirrors of ours; the one of the internet is not asked. */
export async function mirrorsOfNix(signal: AbortSignal): Promise<readonly string[]> {
  const substituters = (await readNixSetting('substituters', signal)) ?? [];
  return substituters.filter((place) => !place.includes('//cache.nixos.org'));
}
