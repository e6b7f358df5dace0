import { isDeepStrictEqual } from 'node:util';
import { NixferryError } from '../base/errors.ts';
import { showChannel } from '../mirror/channels.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { showRepositories } from '../mirror/repositories.ts';
import { makeRootId, type RootRecord, readRoot, type Scope, writeRoot } from '../mirror/roots.ts';
import type { StorePathBaseName } from '../nix/index.ts';
import type { RootLine } from './inventory.ts';
import type { CheckedInventory } from './inventory-check.ts';
import type { Manifest } from './manifest.ts';
import { rootOfLine } from './root-line.ts';

export interface ImportedRoot {
  readonly name: string;
  readonly request: string;
  readonly scope: Scope;
  /** Whether all of its paths are in the mirror now. */
  readonly complete: boolean;
  readonly pathCount: number;
  /** Base names of those that are not. */
  readonly missing: readonly string[];
  /** Why a repository of git that belongs to it is not shown, and it does not count as complete. */
  readonly refused?: string;
}

/** By position in the inventory: 1 for what the mirror has. */
export interface PresentFlags {
  readonly paths: Uint8Array;
  readonly needs: Uint8Array;
}

/**
 * Records the full path list of each root, with what it needs from before. Whatever the order of arrival, the record that stays is the latest of those
 * that are complete, else the latest: an older or incomplete shipment may add paths, but never takes anything back.
 */
export async function recordRoots(
  mirror: Mirror,
  manifest: Manifest,
  inventory: CheckedInventory,
  present: PresentFlags,
): Promise<ImportedRoot[]> {
  const members = membersOf(inventory, present);
  const imported: ImportedRoot[] = [];
  for (const [position, line] of inventory.roots.entries()) {
    const { own, missing } = members[position] ?? { own: [], missing: [] };
    const stated = rootRecordOf(line, manifest, own, line.complete && missing.length === 0);
    // Also of an older one that is not kept: the commits are.
    const refused = await tryToShow(mirror, stated);
    const record = refused === undefined ? stated : { ...stated, complete: false };
    const kept = await recordRoot(mirror, record);
    await showChannel(mirror, kept);
    if (kept !== record) await showRepositories(mirror, kept);
    imported.push({
      name: line.name,
      request: line.request,
      scope: line.scope,
      complete: record.complete,
      pathCount: own.length,
      missing,
      ...(refused === undefined ? {} : { refused }),
    });
  }
  return imported;
}

/** Resolves to what is wrong with a repository that belongs to the root. */
async function tryToShow(mirror: Mirror, record: RootRecord): Promise<string | undefined> {
  try {
    await showRepositories(mirror, record);
    return undefined;
  } catch (error) {
    if (error instanceof NixferryError && error.code === 'damage') return error.message;
    throw error;
  }
}

/** Of each root that lacks paths, one of them. */
export function witnessesOf(roots: readonly ImportedRoot[]): string[] {
  return [...new Set(roots.flatMap(({ missing }) => missing.slice(0, 1)))];
}

interface Members {
  readonly own: StorePathBaseName[];
  readonly missing: string[];
}

function membersOf({ roots, needs, paths }: CheckedInventory, present: PresentFlags): Members[] {
  const members = roots.map((): Members => ({ own: [], missing: [] }));
  const add = (path: string, memberships: readonly number[], isPresent: boolean): void => {
    for (const position of memberships) {
      members[position]?.own.push(path as StorePathBaseName);
      if (!isPresent) members[position]?.missing.push(path);
    }
  };
  for (const [index, need] of needs.entries()) add(need.path, need.roots, present.needs[index] === 1);
  for (const [index, path] of paths.entries()) add(path.path, path.roots, present.paths[index] === 1);
  return members;
}

function rootRecordOf(
  line: RootLine,
  { sender, site, sequence }: Manifest,
  paths: StorePathBaseName[],
  complete: boolean,
): RootRecord {
  const stated = rootOfLine(line);
  const origin = 'imported' as const;
  const shipment = { sender, site, sequence: line.asOf ?? sequence };
  const id = makeRootId({ ...stated, origin, shipment });
  return { ...stated, format: 1, id, paths: paths.sort(), complete, origin, shipment };
}

/** Resolves to the record that stays. */
async function recordRoot(mirror: Mirror, record: RootRecord): Promise<RootRecord> {
  const known = await readRoot(mirror, record.id);
  if (known !== undefined && (outranks(known, record) || isSameRecord(known, record))) return known;
  await writeRoot(mirror, record);
  return record;
}

function outranks(known: RootRecord, record: RootRecord): boolean {
  if (known.complete !== record.complete) return known.complete;
  return (known.shipment?.sequence ?? 0) > (record.shipment?.sequence ?? 0);
}

function isSameRecord(known: RootRecord, record: RootRecord): boolean {
  return (
    known.complete === record.complete &&
    known.name === record.name &&
    known.shipment?.sequence === record.shipment?.sequence &&
    known.paths.length === record.paths.length &&
    known.paths.every((path, index) => path === record.paths[index]) &&
    known.rootPaths.join() === [...new Set(record.rootPaths)].sort().join() &&
    isDeepStrictEqual(known.targets, record.targets) &&
    isDeepStrictEqual(known.evaluationInputs, record.evaluationInputs) &&
    isDeepStrictEqual(known.channel, record.channel) &&
    isDeepStrictEqual(known.repositories, record.repositories)
  );
}
