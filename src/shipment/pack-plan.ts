import { asCompression, type Compression } from '../base/compression/compression.ts';
import { mapConcurrent } from '../base/concurrency.ts';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { OnProgress } from '../base/progress.ts';
import { narInfoName } from '../mirror/layout.ts';
import type { Mirror } from '../mirror/mirror.ts';
import type { RootRecord } from '../mirror/roots.ts';
import { hashPartOf, type NarInfo, NixFormatError, parseNarInfo, type StorePathBaseName } from '../nix/index.ts';
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

/** What goes into a shipment, in the order of the stream. */
export interface PackPlan {
  readonly roots: readonly RootRecord[];
  readonly cacheInfo: PlannedFile;
  readonly paths: readonly PlannedPath[];
  /** What follows the paths: realisations. */
  readonly files: readonly PlannedFile[];
}

/** A narinfo that names its file as every narinfo of a mirror does. */
export type PackedNarInfo = NarInfo & { readonly fileHash: string; readonly fileSizeBytes: number };

/** Reads what the mirror says of every path of the roots, and puts it in order. Throws `damage` or `upstream-incomplete`. */
export async function planPack(
  mirror: Mirror,
  roots: readonly RootRecord[],
  onProgress: OnProgress,
  signal: AbortSignal | undefined,
): Promise<PackPlan> {
  for (const root of roots) refuseIncomplete(root);
  const names = [...new Set(roots.flatMap((root) => root.paths))].sort();
  const indexOf = new Map(names.map((name, index) => [name, index]));
  onProgress({ type: 'phase', phase: 'plan', totalItems: names.length });
  const drafts = await mapConcurrent(
    names,
    LIMITS.narInfoReadsInFlight,
    async (name) => {
      const { info, bytes } = await readPackedNarInfo(mirror, name);
      onProgress({ type: 'advance', items: 1 });
      return draftOf(info, bytes.length, indexOf);
    },
    signal,
  );
  const order = topologicalOrder(startsOf(roots, indexOf), names.length, (node) => drafts[node]?.references ?? []);
  const membership = membershipOf(roots, indexOf, names.length);
  const { cacheInfo, listings, files } = await findShippedFiles(mirror, new Set(names));
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
  return { roots, cacheInfo, paths, files };
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

function draftOf(info: PackedNarInfo, narInfoSizeBytes: number, indexOf: ReadonlyMap<string, number>): Draft {
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
    references: Int32Array.from(references).sort(),
  };
}

// A slice of a text keeps the whole text in memory: here, a narinfo for each of its fields.
function ownCopy(text: string): string {
  return Buffer.from(text).toString();
}

function* startsOf(roots: readonly RootRecord[], indexOf: ReadonlyMap<string, number>): Generator<number> {
  for (const root of roots) {
    for (const name of [...root.rootPaths, ...root.paths]) {
      const index = indexOf.get(name);
      if (index !== undefined) yield index;
    }
  }
}

function membershipOf(roots: readonly RootRecord[], indexOf: ReadonlyMap<string, number>, count: number): number[][] {
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

function refuseIncomplete(root: RootRecord): void {
  if (root.complete) return;
  throw new NixferryError('upstream-incomplete', `the root ${root.name} is not complete in this mirror`, {
    hint: `collect it again (nixferry collect ${root.request}), or name the roots that are to be packed`,
  });
}
