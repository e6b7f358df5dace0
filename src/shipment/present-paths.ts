import { mapConcurrent } from '../base/concurrency.ts';
import { LIMITS } from '../base/limits.ts';
import type { OnProgress } from '../base/progress.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { hashPartOf, type StorePathBaseName } from '../nix/index.ts';
import type { CheckedInventory } from './inventory-check.ts';

export interface PresentPaths {
  /** By position in the inventory: 1 where the mirror has the path. */
  readonly present: Uint8Array;
  /** Base names of those that it has with other contents: builds are not always reproducible, and Nix takes either. */
  readonly otherBuilds: readonly string[];
}

/** Looks for each path whether clients of the mirror can have it: its narinfo and its NAR are there. */
export async function findPresent(
  mirror: Mirror,
  { paths }: CheckedInventory,
  onProgress: OnProgress,
  signal: AbortSignal | undefined,
): Promise<PresentPaths> {
  const present = new Uint8Array(paths.length);
  const otherBuilds: string[] = [];
  await mapConcurrent(
    paths,
    LIMITS.narInfoReadsInFlight,
    async ({ path, narHash }, index) => {
      const info = await mirror.readNarInfo(hashPartOf(path as StorePathBaseName));
      if (info?.storePath.endsWith(`/${path}`) === true && (await mirror.storage.stat(info.url)) !== undefined) {
        present[index] = 1;
        if (info.narHash !== narHash) otherBuilds.push(path);
      }
      onProgress({ type: 'advance', items: 1 });
    },
    signal,
  );
  return { present, otherBuilds: otherBuilds.sort() };
}
