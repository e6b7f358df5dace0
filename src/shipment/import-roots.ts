import type { Mirror } from '../mirror/mirror.ts';
import { makeRootId, type RootRecord, readRoot, writeRoot } from '../mirror/roots.ts';
import type { StorePathBaseName } from '../nix/index.ts';
import type { CheckedInventory } from './inventory-check.ts';
import type { Manifest } from './manifest.ts';

export interface ImportedRoot {
  readonly name: string;
  readonly request: string;
  /** Whether all of its paths are in the mirror now. */
  readonly complete: boolean;
  readonly pathCount: number;
  /** Base names of those that are not. */
  readonly missing: readonly string[];
}

/**
 * Records the full path list of each root. A record of a later shipment, or one that is complete where this one is not, stays as it is: an
 * older or incomplete shipment may add paths, but never takes anything back.
 */
export async function recordRoots(
  mirror: Mirror,
  manifest: Manifest,
  { roots, paths }: CheckedInventory,
  present: Uint8Array,
): Promise<ImportedRoot[]> {
  const imported: ImportedRoot[] = [];
  for (const [position, line] of roots.entries()) {
    const own: StorePathBaseName[] = [];
    const missing: string[] = [];
    for (const [index, { path, roots: memberships }] of paths.entries()) {
      if (!memberships.includes(position)) continue;
      own.push(path as StorePathBaseName);
      if (present[index] !== 1) missing.push(path);
    }
    const { sender, site, sequence } = manifest;
    const identity = {
      name: line.name,
      request: line.request,
      scope: line.scope,
      origin: 'imported' as const,
      shipment: { sender, site, sequence },
    };
    const complete = line.complete && missing.length === 0;
    const rootPaths = line.rootPaths.map((path) => path as StorePathBaseName);
    await recordRoot(mirror, {
      ...identity,
      format: 1,
      id: makeRootId(identity),
      rootPaths,
      paths: own.sort(),
      complete,
    });
    imported.push({ name: line.name, request: line.request, complete, pathCount: own.length, missing });
  }
  return imported;
}

async function recordRoot(mirror: Mirror, record: RootRecord): Promise<void> {
  const known = await readRoot(mirror, record.id);
  if (known !== undefined) {
    if ((known.shipment?.sequence ?? 0) > (record.shipment?.sequence ?? 0)) return;
    if (known.complete && !record.complete) return;
    if (isSameRecord(known, record)) return;
  }
  await writeRoot(mirror, record);
}

function isSameRecord(known: RootRecord, record: RootRecord): boolean {
  return (
    known.complete === record.complete &&
    known.name === record.name &&
    known.shipment?.sequence === record.shipment?.sequence &&
    known.paths.length === record.paths.length &&
    known.paths.every((path, index) => path === record.paths[index]) &&
    known.rootPaths.join() === [...new Set(record.rootPaths)].sort().join()
  );
}
