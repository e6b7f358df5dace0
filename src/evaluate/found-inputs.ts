import { mapConcurrent } from '../base/concurrency.ts';
import { LIMITS } from '../base/limits.ts';
import type { FlakeReference } from '../mirror/roots.ts';
import { nameOf, type StorePath } from '../nix/index.ts';
import { type EvaluationStore, recogniseContent } from './evaluation-store.ts';
import type { LocalPath } from './local-store.ts';
import { findOriginal } from './source-copies.ts';

/** Something that evaluating a root read besides derivations. */
export interface EvaluationInput {
  /** A node of flake.lock, a channel or other tree of the search path, what a `fetch…` brought, an output of import-from-derivation. */
  readonly kind: 'flake' | 'channel' | 'fetched' | 'built';
  /** For people: the input's name, else that of the store path. */
  readonly name: string;
  readonly storePath: StorePath;
  /** Of a node of flake.lock, as that has it. */
  readonly locked?: FlakeReference;
  readonly original?: FlakeReference;
}

/** What is known of the source of a flake. */
export type KnownFlake = Pick<EvaluationInput, 'name' | 'locked' | 'original'>;

/** What has come to lie in the evaluation store, told apart. */
export interface FoundInputs {
  /** Sorted by path. */
  readonly inputs: readonly EvaluationInput[];
  /** What the evaluation store may be asked for: all in it that its name proves right. */
  readonly proven: ReadonlyMap<StorePath, LocalPath>;
}

/** What is known of some of the paths from elsewhere. */
export interface KnownInputs {
  /** Sources of flakes, by path. */
  readonly flakes: ReadonlyMap<string, KnownFlake>;
  /** Trees of the search path, by path: their names. */
  readonly channels: ReadonlyMap<string, string>;
  /** Copies of files that an expression names, as `src = ./src`: whoever evaluates has these files, and makes the copy himself. */
  readonly copies: ReadonlySet<string>;
  /** Files and folders that an expression may have had copied, in part or as a whole. */
  readonly originals: ReadonlySet<string>;
}

/**
 * Tells the evaluation inputs from what evaluation has written itself. A tree in the store that is no copy of a file which an expression names was
 * fetched; what is not named by its contents was built. A file named like a fetched tree is the archive that this was unpacked from: Nix of before 2.20
 * keeps it, and nobody asks for it.
 */
export async function findInputs(
  store: EvaluationStore,
  known: KnownInputs,
  storeDir: string,
  signal?: AbortSignal,
): Promise<FoundInputs> {
  const paths = await store.readPaths(signal);
  const proven = new Map<StorePath, LocalPath>();
  const inputs: EvaluationInput[] = [];
  const files: EvaluationInput[] = [];
  const look = async (path: LocalPath) => {
    const { storePath } = path;
    const content = await recogniseContent(store, path, storeDir);
    if (content !== undefined) proven.set(storePath, path);
    const flake = known.flakes.get(storePath);
    const channel = known.channels.get(storePath);
    const name = nameOf(storePath);
    if (flake !== undefined) inputs.push({ kind: 'flake', ...flake, storePath });
    else if (channel !== undefined) inputs.push({ kind: 'channel', name: channel, storePath });
    else if (content === undefined || path.deriver !== undefined) inputs.push({ kind: 'built', name, storePath });
    else if (content === 'flat') files.push({ kind: 'fetched', name, storePath });
    else if (content === 'source' && !isCopy(storePath)) inputs.push({ kind: 'fetched', name, storePath });
  };
  const isCopy = (path: StorePath) =>
    known.copies.has(path) || findOriginal(store.physical(path), known.originals) !== undefined;
  await mapConcurrent(paths.values(), LIMITS.localFilesAtOnce, look, signal);
  const trees = new Set(inputs.map(({ storePath }) => nameOf(storePath)));
  inputs.push(...files.filter(({ name }) => !trees.has(name)));
  const inLocalStore = [...known.channels].filter(([path]) => !paths.has(path as StorePath));
  for (const [path, name] of inLocalStore) inputs.push({ kind: 'channel', name, storePath: path as StorePath });
  return { inputs: inputs.toSorted((a, b) => (a.storePath < b.storePath ? -1 : 1)), proven };
}
