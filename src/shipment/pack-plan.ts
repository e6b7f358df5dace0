import { asCompression, type Compression } from '../base/compression/compression.ts';
import { mapConcurrent } from '../base/concurrency.ts';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { OnProgress } from '../base/progress.ts';
import { narInfoName } from '../mirror/layout.ts';
import type { Mirror } from '../mirror/mirror.ts';
import type { RootRecord } from '../mirror/roots.ts';
import { hashPartOf, type NarInfo, NixFormatError, parseNarInfo, type StorePathBaseName } from '../nix/index.ts';
import { NO_BASIS, type PackBasis } from './pack-basis.ts';
import { findShippedFiles, type PlannedFile } from './shipped-files.ts';
import { topologicalOrder } from './topological-order.ts';

/** What is kept in memory of a path while a shipment is packed: no more, for there may be hundreds of thousands. */
export interface PlannedPath {
  readonly path: StorePathBaseName;
  readonly narHash: string;
  readonly narSizeBytes: number;
  readonly nar: { readonly name: string; readonly sizeBytes: number };
  /** Whether an earlier path of the stream has the same NAR file, which then travels once. */
  readonly isNarShared: boolean;
  readonly narInfoSizeBytes: number;
  /** Positions in the list of roots. */
  readonly roots: readonly number[];
  /** The `.ls` beside its narinfo, where the mirror has one. */
  readonly listing: PlannedFile | undefined;
}

/** A path of the roots that is not sent, for the site has it. */
export interface PlannedNeed {
  readonly path: StorePathBaseName;
  readonly narHash: string;
  readonly narSizeBytes: number;
  /** Positions in the list of roots. */
  readonly roots: readonly number[];
  /** The shipment that brought it, as far as that is known. */
  readonly sequence: number | undefined;
}

/** A root as a shipment states it. */
export type PackedRoot = Pick<
  RootRecord,
  | 'name'
  | 'request'
  | 'scope'
  | 'complete'
  | 'rootPaths'
  | 'paths'
  | 'targets'
  | 'evaluationInputs'
  | 'channel'
  | 'repositories'
> & {
  /** The sequence of an earlier shipment, where the root is sent again as it was in that one. */
  readonly asOf?: number;
};

/** What a site has, by base name, and the sequence of the shipment that brought it, as far as that is known. */
export type HeldPaths = ReadonlyMap<string, number | undefined>;

/** What goes into a shipment, in the order of the stream. */
export interface PackPlan {
  readonly roots: readonly PackedRoot[];
  /** Sorted. */
  readonly needs: readonly PlannedNeed[];
  readonly cacheInfo: PlannedFile;
  readonly paths: readonly PlannedPath[];
  /** What follows the paths: realisations. */
  readonly files: readonly PlannedFile[];
}

/** A narinfo that names its file as every narinfo of a mirror does. */
export type PackedNarInfo = NarInfo & { readonly fileHash: string; readonly fileSizeBytes: number };

/**
 * Reads what the mirror says of every path of the roots that the site does not hold, and puts it in order. Of those that it holds, the index tells
 * enough: there may be 100,000 of them beside one that is sent. Throws `damage` or `upstream-incomplete`.
 */
export async function planPack(
  mirror: Mirror,
  roots: readonly PackedRoot[],
  onProgress: OnProgress,
  signal: AbortSignal | undefined,
  basis: Pick<PackBasis, 'held' | 'heldFiles'> = NO_BASIS,
): Promise<PackPlan> {
  const { held, heldFiles } = basis;
  for (const root of roots) refuseIncomplete(root);
  const all = [...new Set(roots.flatMap((root) => root.paths))].sort();
  const names = all.filter((name) => !held.has(name));
  const needed = all.filter((name) => held.has(name));
  // Those that are sent come first: an index beyond them is that of a need.
  const indexOf = new Map([...names, ...needed].map((name, index) => [name, index]));
  onProgress({ type: 'phase', phase: 'plan', totalItems: names.length });
  const drafts = await mapConcurrent(
    names,
    LIMITS.narInfoReadsInFlight,
    async (name) => {
      const { info, bytes } = await readPackedNarInfo(mirror, name);
      onProgress({ type: 'advance', items: 1 });
      return draftOf(info, bytes.length, indexOf, names.length);
    },
    signal,
  );
  const starts = startsOf(roots, indexOf, names.length);
  const order = topologicalOrder(starts, names.length, (node) => drafts[node]?.references ?? []);
  const membership = membershipOf(roots, indexOf, all.length);
  const needs: PlannedNeed[] = [];
  for (const [position, name] of needed.entries()) {
    const facts = await needFacts(mirror, name);
    needs.push({ ...facts, roots: membership[names.length + position] ?? [], sequence: held.get(name) });
  }
  const { cacheInfo, listings, files } = await findShippedFiles(mirror, new Set(names), {
    paths: new Set(needed),
    heldFiles,
  });
  const seenNars = new Set<string>();
  const paths = order.map((index): PlannedPath => {
    const draft = drafts[index] as Draft;
    const isNarShared = seenNars.has(draft.nar.name);
    seenNars.add(draft.nar.name);
    const listing = listings.get(hashPartOf(draft.path));
    return {
      path: draft.path,
      narHash: draft.narHash,
      narSizeBytes: draft.narSizeBytes,
      nar: draft.nar,
      isNarShared,
      narInfoSizeBytes: draft.narInfoSizeBytes,
      roots: membership[index] ?? [],
      listing,
    };
  });
  return { roots, needs, cacheInfo, paths, files };
}

/** The narinfo of a path as it lies in the mirror, and its bytes. Throws `damage`, naming the file and what to type. */
export async function readPackedNarInfo(
  mirror: Mirror,
  name: StorePathBaseName,
): Promise<{ info: PackedNarInfo; bytes: Buffer; compression: Compression }> {
  const file = narInfoName(hashPartOf(name));
  const bytes = await mirror.storage.read(file);
  if (bytes === undefined) throw damagedNarInfo(mirror, file, `the path ${name} is no longer there`);
  try {
    const info = parseNarInfo(bytes, mirror.storeDir);
    if (!info.storePath.endsWith(`/${name}`))
      throw damagedNarInfo(mirror, file, `it describes ${info.storePath}, not ${name}`);
    const { fileHash, fileSizeBytes } = info;
    if (fileHash === undefined || fileSizeBytes === undefined)
      throw damagedNarInfo(mirror, file, 'it lacks FileHash or FileSize');
    const compression = asCompression(info.compression);
    if (compression === undefined)
      throw damagedNarInfo(mirror, file, `nobody can read the compression ${info.compression}`);
    return { info: { ...info, fileHash, fileSizeBytes }, bytes, compression };
  } catch (error) {
    if (error instanceof NixFormatError) throw damagedNarInfo(mirror, file, error.message);
    throw error;
  }
}

export function damagedNarInfo(mirror: Mirror, file: string, why: string): NixferryError {
  return new NixferryError('damage', `${file} in the mirror ${mirror.directory}: ${why}`, {
    hint: `type: nixferry verify --mirror ${mirror.directory}`,
  });
}

type Draft = Omit<PlannedPath, 'roots' | 'isNarShared' | 'listing'> & { readonly references: Int32Array };

async function needFacts(
  mirror: Mirror,
  path: StorePathBaseName,
): Promise<Pick<PlannedNeed, 'path' | 'narHash' | 'narSizeBytes'>> {
  const known = await mirror.index.get(hashPartOf(path));
  if (known?.storePath.endsWith(`/${path}`) !== true) {
    throw damagedNarInfo(mirror, narInfoName(hashPartOf(path)), `the path ${path} is no longer there`);
  }
  return { path, narHash: known.narHash, narSizeBytes: known.narSizeBytes };
}

function draftOf(
  info: PackedNarInfo,
  narInfoSizeBytes: number,
  indexOf: ReadonlyMap<string, number>,
  sentCount: number,
): Draft {
  const self = info.storePath.slice(info.storePath.lastIndexOf('/') + 1);
  const references = info.references.map((reference) => {
    const name = reference.slice(reference.lastIndexOf('/') + 1);
    const index = indexOf.get(name);
    if (index !== undefined) return index;
    throw new NixferryError(
      'damage',
      `${self} refers to ${name}, which is in none of the roots that are to be packed`,
      {
        hint: 'collect its root again, so that the record of what it needs is complete',
      },
    );
  });
  return {
    path: ownCopy(self) as StorePathBaseName,
    narHash: ownCopy(info.narHash),
    narSizeBytes: info.narSizeBytes,
    nar: { name: ownCopy(info.url), sizeBytes: info.fileSizeBytes },
    narInfoSizeBytes,
    references: Int32Array.from(references.filter((index) => index < sentCount)).sort(),
  };
}

// A slice of a text keeps the whole text in memory: here, a narinfo for each of its fields.
function ownCopy(text: string): string {
  return Buffer.from(text).toString();
}

function* startsOf(
  roots: readonly PackedRoot[],
  indexOf: ReadonlyMap<string, number>,
  sentCount: number,
): Generator<number> {
  for (const root of roots) {
    for (const name of [...root.rootPaths, ...root.paths]) {
      const index = indexOf.get(name);
      if (index !== undefined && index < sentCount) yield index;
    }
  }
}

function membershipOf(roots: readonly PackedRoot[], indexOf: ReadonlyMap<string, number>, count: number): number[][] {
  // Most paths of a shipment belong to the same few roots: equal lists are kept once.
  const known = new Map<string, number[]>();
  const membership: number[][] = Array.from({ length: count }, () => NO_ROOTS);
  for (const [position, root] of roots.entries()) {
    for (const name of new Set(root.paths)) {
      const index = indexOf.get(name) ?? -1;
      const list = [...(membership[index] ?? NO_ROOTS), position];
      const key = list.join();
      if (!known.has(key)) known.set(key, list);
      membership[index] = known.get(key) ?? list;
    }
  }
  return membership;
}

const NO_ROOTS: number[] = [];

function refuseIncomplete(root: PackedRoot): void {
  if (root.complete) return;
  throw new NixferryError('upstream-incomplete', `the root ${root.name} is not complete in this mirror`, {
    hint: `collect it again (nixferry collect ${root.request}), or pack without names, which leaves it out`,
  });
}
