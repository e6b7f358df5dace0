import { compareNames, isDerivation, namedPath } from './shipment-description.ts';

/** A path that somebody holds, and as much of it as is known. */
export interface HeldPath {
  /** Base name. */
  readonly path: string;
  /** Base name. */
  readonly deriver: string | undefined;
  /** Undefined where only the name of the path is on record. */
  readonly narHash: string | undefined;
  readonly narSizeBytes: number | undefined;
}

/** By base name. */
export type HeldPaths = ReadonlyMap<string, HeldPath>;

/**
 * What became of the paths of one package name. `changed`: other versions. `rebuilt`: the same versions from other inputs, so other paths. `outputs`:
 * the same versions, with paths more or fewer beside what stays.
 */
export interface PackageDiff {
  readonly kind: 'added' | 'removed' | 'changed' | 'rebuilt' | 'outputs';
  readonly name: string;
  /** Versions that go, that come, and that stay; empty texts where names state none. */
  readonly oldVersions: readonly string[];
  readonly newVersions: readonly string[];
  readonly keptVersions: readonly string[];
  /** Of all its paths, before and after, unpacked. */
  readonly oldNarSizeBytes: number;
  readonly newNarSizeBytes: number;
  /** Base names, sorted. */
  readonly removedPaths: readonly string[];
  readonly addedPaths: readonly string[];
}

export interface PathDiff {
  readonly added: number;
  readonly removed: number;
  readonly unchanged: number;
}

export interface HoldingsDiff {
  /** By name; packages of which nothing changed are only counted. */
  readonly packages: readonly PackageDiff[];
  readonly unchangedPackages: number;
  readonly paths: PathDiff;
  /** The `.drv` files among the paths; they are no packages. */
  readonly derivations: PathDiff;
  readonly oldNarSizeBytes: number;
  readonly newNarSizeBytes: number;
  /** Paths that keep their name and have other contents: built twice, or tampered with. Base names. */
  readonly otherContents: readonly string[];
}

/** Compares what was held with what will be, by the names of packages. */
export function diffHoldings(before: HeldPaths, after: HeldPaths): HoldingsDiff {
  const groups = new Map<string, Group>();
  const otherContents: string[] = [];
  const paths = { added: 0, removed: 0, unchanged: 0 };
  const derivations = { added: 0, removed: 0, unchanged: 0 };
  for (const path of after.values()) {
    const old = before.get(path.path);
    if (old?.narHash !== undefined && path.narHash !== undefined && old.narHash !== path.narHash) {
      otherContents.push(path.path);
    }
    const change = old === undefined ? 'added' : 'unchanged';
    paths[change]++;
    if (isDerivation(path)) derivations[change]++;
    // A deriver that only one side knows must not make two versions of one.
    else addTo(groups, { ...path, deriver: path.deriver ?? old?.deriver }, change);
  }
  for (const path of before.values()) {
    const now = after.get(path.path);
    if (now !== undefined) continue;
    paths.removed++;
    if (isDerivation(path)) derivations.removed++;
    else addTo(groups, path, 'removed');
  }
  const packages = [...groups.values()].flatMap((group) => asDiff(group) ?? []);
  return {
    packages: packages.sort((a, b) => compareNames(a.name, b.name)),
    unchangedPackages: groups.size - packages.length,
    paths,
    derivations,
    oldNarSizeBytes: sizeOf(before.values()),
    newNarSizeBytes: sizeOf(after.values()),
    otherContents: otherContents.sort(),
  };
}

interface Group {
  readonly name: string;
  readonly oldVersions: Set<string>;
  readonly newVersions: Set<string>;
  oldNarSizeBytes: number;
  newNarSizeBytes: number;
  readonly addedPaths: string[];
  readonly removedPaths: string[];
}

function addTo(groups: Map<string, Group>, path: HeldPath, change: keyof PathDiff): void {
  const { name, version } = namedPath(path.path, path.deriver);
  const group = groups.get(name) ?? {
    name,
    oldVersions: new Set(),
    newVersions: new Set(),
    oldNarSizeBytes: 0,
    newNarSizeBytes: 0,
    addedPaths: [],
    removedPaths: [],
  };
  groups.set(name, group);
  if (change !== 'added') {
    group.oldVersions.add(version);
    group.oldNarSizeBytes += path.narSizeBytes ?? 0;
  }
  if (change !== 'removed') {
    group.newVersions.add(version);
    group.newNarSizeBytes += path.narSizeBytes ?? 0;
  }
  if (change === 'added') group.addedPaths.push(path.path);
  if (change === 'removed') group.removedPaths.push(path.path);
}

function asDiff(group: Group): PackageDiff | undefined {
  const { name, oldVersions, newVersions, oldNarSizeBytes, newNarSizeBytes, addedPaths, removedPaths } = group;
  if (addedPaths.length === 0 && removedPaths.length === 0) return undefined;
  return {
    kind: kindOf(group),
    name,
    oldVersions: [...oldVersions].filter((version) => !newVersions.has(version)).sort(compareNames),
    newVersions: [...newVersions].filter((version) => !oldVersions.has(version)).sort(compareNames),
    keptVersions: [...oldVersions].filter((version) => newVersions.has(version)).sort(compareNames),
    oldNarSizeBytes,
    newNarSizeBytes,
    addedPaths: addedPaths.sort(),
    removedPaths: removedPaths.sort(),
  };
}

function kindOf({ oldVersions, newVersions, addedPaths, removedPaths }: Group): PackageDiff['kind'] {
  if (oldVersions.size === 0) return 'added';
  if (newVersions.size === 0) return 'removed';
  if (oldVersions.size !== newVersions.size || [...oldVersions].some((version) => !newVersions.has(version)))
    return 'changed';
  return addedPaths.length > 0 && removedPaths.length > 0 ? 'rebuilt' : 'outputs';
}

function sizeOf(paths: Iterable<HeldPath>): number {
  let total = 0;
  for (const { narSizeBytes } of paths) total += narSizeBytes ?? 0;
  return total;
}
