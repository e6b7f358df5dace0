import { baseNameOf, type HashPart, hashPartOf, type StorePath } from '../nix/store-path.ts';
import type { Mirror } from './mirror.ts';
import { makeRootId, type RootRecord, readRoots, writeRoot } from './roots.ts';

/**
 * Records a path that the mirror has, though nobody has collected it, as a root of its own: what a caching proxy has fetched can then be packed. Undefined
 * when the mirror does not have it.
 */
export async function recordCachedPath(mirror: Mirror, path: StorePath): Promise<RootRecord | undefined> {
  if (!(await mirror.index.has(hashPartOf(path)))) return undefined;
  return record(mirror, path, [hashPartOf(path)]);
}

/** The name of the root that stands for whatever no other root holds. */
export const CACHED_ROOT_NAME = 'cached';

/** Records all paths that no root holds, with all that they refer to, as one root; undefined when there are none. */
export async function recordCachedPaths(mirror: Mirror): Promise<RootRecord | undefined> {
  const roots = (await readRoots(mirror)).filter(({ name }) => name !== CACHED_ROOT_NAME);
  const held = new Set(roots.flatMap(({ paths }) => paths.map((path) => path.slice(0, 32))));
  const rest = (await mirror.index.hashParts()).filter((hashPart) => !held.has(hashPart));
  if (rest.length === 0) return undefined;
  const referred = new Set<HashPart>();
  for (const hashPart of rest) {
    for (const reference of await mirror.index.references(hashPart)) {
      if (reference !== hashPart) referred.add(reference);
    }
  }
  const tops = rest.filter((hashPart) => !referred.has(hashPart));
  return record(mirror, CACHED_ROOT_NAME, tops);
}

async function record(mirror: Mirror, request: string, tops: readonly HashPart[]): Promise<RootRecord> {
  const closure = await mirror.index.closure(tops);
  const top = new Set(tops);
  const identity = { name: request, request, scope: 'run', origin: 'collected' } as const;
  const root: RootRecord = {
    format: 1,
    id: makeRootId(identity),
    ...identity,
    rootPaths: closure.paths.filter(({ hashPart }) => top.has(hashPart)).map(({ storePath }) => baseNameOf(storePath)),
    paths: closure.paths.map(({ storePath }) => baseNameOf(storePath)),
    complete: closure.missing.length === 0,
  };
  await writeRoot(mirror, root);
  return root;
}
