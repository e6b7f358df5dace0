import { LIMITS } from '../base/limits.ts';
import { ignoreProgress, type OnProgress } from '../base/progress.ts';
import type { IndexedPath } from '../mirror/index.ts';
import { NAR_PREFIX } from '../mirror/layout.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { hashPartOf, type StorePathBaseName } from '../nix/index.ts';

/** What a mirror says of paths, asked by their base names: what clients can have, so that narinfo and NAR are there. */
export interface Presence {
  /** Undefined when clients cannot have the path. */
  find(path: string): Promise<IndexedPath | undefined>;
  /** The base names of all paths that clients can have, by hash part. */
  all(): AsyncGenerator<string, void, undefined>;
}

/** Looks at the mirror once, and answers for 100,000 paths in about a second. */
export async function openPresence(mirror: Mirror): Promise<Presence> {
  await mirror.index.refresh();
  const nars = new Set<string>();
  for await (const name of mirror.storage.list(NAR_PREFIX)) nars.add(name);
  return {
    async find(path) {
      const known = await mirror.index.get(hashPartOf(path as StorePathBaseName));
      return known?.storePath.endsWith(`/${path}`) === true && nars.has(known.url) ? known : undefined;
    },
    async *all() {
      for await (const { baseName, url } of mirror.index.names()) if (nars.has(url)) yield baseName;
    },
  };
}

export interface PresentPaths {
  /** By position: 1 where the mirror has the path. */
  readonly present: Uint8Array;
  /** Base names of those that it has with other contents: builds are not always reproducible, and Nix takes either. */
  readonly otherBuilds: readonly string[];
}

/** Looks for each path whether clients of the mirror can have it. */
export async function findPresent(
  presence: Presence,
  paths: readonly { readonly path: string; readonly narHash: string }[],
  onProgress: OnProgress = ignoreProgress,
): Promise<PresentPaths> {
  const present = new Uint8Array(paths.length);
  const otherBuilds: string[] = [];
  for (const [index, { path, narHash }] of paths.entries()) {
    const known = await presence.find(path);
    if (known !== undefined) {
      present[index] = 1;
      if (known.narHash !== narHash) otherBuilds.push(path);
    }
    onProgress({ type: 'advance', items: 1 });
  }
  return { present, otherBuilds: otherBuilds.sort() };
}

/**
 * By position: 1 for each small file that the mirror has, with whatever contents, or does not want: the listing of a path that it has from another build
 * says what is in the other one.
 */
export async function findPresentFiles(
  mirror: Mirror,
  names: readonly string[],
  otherBuilds: readonly string[],
): Promise<Uint8Array> {
  const present = new Uint8Array(names.length);
  const unwanted = new Set(otherBuilds.map((path) => `${hashPartOf(path as StorePathBaseName)}.ls`));
  for (let start = 0; start < names.length; start += LIMITS.importWavePaths) {
    const some = names.slice(start, start + LIMITS.importWavePaths);
    const stats = await mirror.storage.statMany(some);
    for (const [index, name] of some.entries()) {
      if (stats[index] !== undefined || unwanted.has(name)) present[start + index] = 1;
    }
  }
  return present;
}
