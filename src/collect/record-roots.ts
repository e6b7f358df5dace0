import type { Mirror } from '../mirror/mirror.ts';
import { makeRootId, type RootRecord, writeRoot } from '../mirror/roots.ts';
import { baseNameOf, hashPartOf } from '../nix/index.ts';
import type { ResolvedRoot } from './resolve-roots.ts';

/** Writes down in the mirror what was asked for and what it needs; a root that lacks something is recorded as not complete. */
export async function recordRoots(roots: readonly ResolvedRoot[], mirror: Mirror): Promise<RootRecord[]> {
  const records: RootRecord[] = [];
  for (const root of roots) {
    const closure = await mirror.index.closure(root.paths.map(hashPartOf));
    const identity = { name: root.name, request: root.request, scope: 'run', origin: 'collected' } as const;
    const record: RootRecord = {
      format: 1,
      id: makeRootId(identity),
      ...identity,
      rootPaths: root.paths.map(baseNameOf),
      paths: closure.paths.map(({ storePath }) => baseNameOf(storePath)),
      complete: closure.missing.length === 0,
    };
    await writeRoot(mirror, record);
    records.push(record);
  }
  return records;
}
