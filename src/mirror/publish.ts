import { rm } from 'node:fs/promises';
import { mapConcurrent } from '../base/concurrency.ts';
import { LIMITS } from '../base/limits.ts';
import type { OnProgress } from '../base/progress.ts';
import { formatNarInfo, type NarInfo } from '../nix/narinfo.ts';
import { hashPartOf, type StorePath } from '../nix/store-path.ts';
import { Exclusive } from './exclusive.ts';
import { noteFlatFiles } from './hash-flat-files.ts';
import type { IndexEntry } from './index-tables.ts';
import { narInfoName } from './layout.ts';
import type { Mirror } from './mirror.ts';
import { mayNameAddress, noteAddresses } from './note-addresses.ts';
import { orderForPublishing, type RefusedItem } from './publish-order.ts';
import { type FreshPath, sortCandidates } from './sort-candidates.ts';
import type { NamedBytes } from './storage.ts';

export interface PublishCandidate {
  /** Its hash, size and compression of the file are those of `narFile`; where the url points does not matter. */
  readonly info: NarInfo;
  /** The checked file, as `intakeNar` hands it over; without it the NAR must be in the mirror under `info.url`. */
  readonly narFile?: string;
}

export interface RefusedPath {
  readonly path: StorePath;
  /** Why, for people. */
  readonly reason: string;
  /** The references that were not there, if that is why. */
  readonly missing: readonly StorePath[];
}

export interface PublishResult {
  /** Visible now and not before, references first. */
  readonly published: readonly StorePath[];
  /** Were visible before; new signatures were added to them. */
  readonly already: readonly StorePath[];
  readonly refused: readonly RefusedPath[];
}

export interface PublishOptions {
  readonly onProgress?: OnProgress | undefined;
  /** False: narinfos keep only the signatures that they came with. Default true. */
  readonly sign?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Makes paths visible to clients: first the NAR files, then the narinfos, references before referrers, each step durable before the next. Killed
 * or stopped at any point, what is visible is complete, and the same call finishes the rest. A path is refused when a reference of it is neither
 * visible nor published with it, when it is in a cycle of references, or when the mirror holds something else under its name.
 * Every narinfo keeps its signatures and gets the mirror's unless `sign` is false. Calls for one mirror run one after the other. Throws `no-space`, and the signal's reason.
 */
export function publish(
  mirror: Mirror,
  candidates: readonly PublishCandidate[],
  options: PublishOptions = {},
): Promise<PublishResult> {
  // Of two at once, the one that ends first would call an index level that lacks what the other has written.
  return oneByOne.run(mirror.directory, () => publishNow(mirror, candidates, options));
}

const oneByOne = new Exclusive();

async function publishNow(
  mirror: Mirror,
  candidates: readonly PublishCandidate[],
  options: PublishOptions,
): Promise<PublishResult> {
  const { signal, onProgress } = options;
  signal?.throwIfAborted();
  const { fresh, already, refused } = await sortCandidates(mirror, candidates, { signal, sign: options.sign ?? true });
  const visible = await findVisible(mirror, fresh);
  const order = orderForPublishing(fresh, (path) => visible.has(path));
  refused.push(...order.refused.map(explainRefusal));

  const ready = order.levels.flat();
  await moveNars(mirror, ready);
  signal?.throwIfAborted();
  const updates = already.filter((path) => path.changed);
  // Ahead of the narinfos: what a client sees can be asked for by its hashes.
  const named = [...ready, ...updates].map(({ info }) => info);
  await noteFlatFiles(mirror, named, { signal });
  await noteAddresses(mirror, named.filter(mayNameAddress), signal);
  const written: NarInfo[] = [];
  if (ready.length + updates.length > 0) await mirror.index.expectChanges();
  try {
    await mirror.storage.writeInOrder(renderLevels([updates, ...order.levels], written, signal, onProgress));
    await addToIndex(mirror, written);
  } catch (error) {
    // Nobody knows how far it came; the index looks at the files when it is opened again.
    await mirror.index.close();
    throw error;
  }
  await mapConcurrent(already, LIMITS.fileSyncsInFlight, ({ leftover }) => removeIfPresent(leftover));
  return {
    published: ready.map((path) => path.storePath),
    already: already.map((path) => path.storePath),
    refused,
  };
}

/** Which of the references of new paths clients see already. */
async function findVisible(mirror: Mirror, fresh: readonly FreshPath[]): Promise<ReadonlySet<StorePath>> {
  const own = new Set(fresh.map((path) => path.storePath));
  const others = new Set(fresh.flatMap((path) => path.references.filter((reference) => !own.has(reference))));
  const visible = new Set<StorePath>();
  await mapConcurrent(others, LIMITS.narInfoReadsInFlight, async (path) => {
    if (await mirror.hasPath(hashPartOf(path))) visible.add(path);
  });
  return visible;
}

async function moveNars(mirror: Mirror, paths: readonly FreshPath[]): Promise<void> {
  const files = new Map<string, string>();
  for (const { narFile, info } of paths) {
    if (narFile !== undefined) files.set(narFile, info.url);
  }
  await mirror.storage.adoptMany([...files].map(([file, name]) => ({ file, name })));
}

function* renderLevels(
  levels: readonly (readonly { readonly info: NarInfo }[])[],
  written: NarInfo[],
  signal: AbortSignal | undefined,
  onProgress: OnProgress | undefined,
): Generator<readonly NamedBytes[]> {
  for (const level of levels) {
    signal?.throwIfAborted();
    if (level.length === 0) continue;
    yield level.map(({ info }) => ({ name: narInfoName(hashPartOf(info.storePath)), bytes: formatNarInfo(info) }));
    for (const { info } of level) written.push(info);
    onProgress?.({ type: 'advance', items: level.length });
  }
}

async function addToIndex(mirror: Mirror, written: readonly NarInfo[]): Promise<void> {
  if (written.length === 0) return;
  const stats = await mirror.storage.statMany(written.map(({ storePath }) => narInfoName(hashPartOf(storePath))));
  const entries = written.flatMap((info, position): IndexEntry[] => {
    const stored = stats[position];
    return stored === undefined ? [] : [{ info, stored }];
  });
  await mirror.index.add(entries);
}

function explainRefusal({ item, reason, missing }: RefusedItem<FreshPath>): RefusedPath {
  const explanations = {
    'reference-missing': 'references of it are missing',
    'reference-refused': 'references of it were refused',
    'reference-cycle': 'it is in a cycle of references',
  };
  return { path: item.storePath, reason: explanations[reason], missing };
}

async function removeIfPresent(file: string | undefined): Promise<void> {
  if (file !== undefined) await rm(file, { force: true });
}
