import { freeBytes } from '../base/files.ts';
import type { OnProgress } from '../base/progress.ts';
import type { LocalStore } from '../evaluate/local-store.ts';
import type { Mirror } from '../mirror/mirror.ts';
import type { Scope } from '../mirror/roots.ts';
import type { HashPart, NarInfo, PublicKey, StorePath } from '../nix/index.ts';
import type { SourceAttempt, SourceSupply } from '../sources/source-supply.ts';
import type { ChannelRelease } from '../upstream/channel-release.ts';
import type { Upstream } from '../upstream/upstream.ts';
import { KnownSources } from './known-sources.ts';
import { downloadBytesOf, type FoundPath, narSizeBytesOf, PathFinder, type PlannedPath } from './path-finder.ts';
import { type PlannedChannel, planChannels } from './plan-channels.ts';
import { type CarryOptions, type PlannedRoot, planRoot, type ReadDerivation } from './plan-root.ts';
import { RealisationFinder, type RealisationSource } from './realisation-finder.ts';
import type { ResolvedRoot } from './resolve-roots.ts';

export type ProblemKind =
  /** No upstream has it and the local store neither. */
  | 'absent'
  /** The output of a derivation that is not built: neither here nor on an upstream. */
  | 'not-built'
  /** A fixed output that no upstream has: a client would have to fetch it from where it comes from. */
  | 'no-source'
  /** An upstream has it, without a signature that counts here. */
  | 'untrusted'
  /** An upstream did not answer properly. */
  | 'upstream-error'
  /** Its bytes are not what they are signed to be. */
  | 'damage'
  /** It is here, but something that it refers to is not. */
  | 'blocked';

export interface CollectProblem {
  readonly storePath: StorePath;
  readonly kind: ProblemKind;
  readonly detail: string;
  /** The path or root that led here first; undefined for a root itself. */
  readonly wantedBy: StorePath | undefined;
  /** Derivations from the root down to what wants it, where the plan followed derivations. */
  readonly chain?: readonly StorePath[];
  /** Of a source: where it was looked for, and why it was not had from there. */
  readonly attempts?: readonly SourceAttempt[];
  /** Of a source: the roots that lack it, by their names. */
  readonly blocks?: readonly string[];
}

export interface CollectPlan {
  readonly roots: readonly PlannedRoot[];
  /** The files of channels' releases, which are no paths of a cache. */
  readonly channels: readonly PlannedChannel[];
  readonly toFetch: readonly PlannedPath[];
  readonly present: ReadonlySet<StorePath>;
  readonly problems: readonly CollectProblem[];
  /** Bytes that will cross the network or be dumped, and take room in the mirror. */
  readonly downloadBytes: number;
  /** False when some upstream does not state FileSize: then downloadBytes counts NarSize, which it cannot exceed by much. */
  readonly downloadIsExact: boolean;
  /** Sources that come from elsewhere than a cache: nobody states their sizes, and `downloadBytes` counts none of them. */
  readonly unsizedSources: number;
  /** What these may come to: as much for each as the sources of known size have on average. Undefined where none is known. */
  readonly unsizedBytes: number | undefined;
  /** Sum of NarSize of all paths, here and to come: what the closure takes in a client's store. */
  readonly unpackedBytes: number;
  readonly freeBytes: number;
}

export interface PlanInputs {
  readonly roots: readonly ResolvedRoot[];
  /** Undefined where the mirror does not exist yet. */
  readonly mirror: Mirror | undefined;
  readonly mirrorDirectory: string;
  readonly storeDir: string;
  readonly upstreams: NarInfoFinder & RealisationSources;
  /** Stores of this machine, asked in this order for what no upstream has. */
  readonly localStores: readonly LocalStore[];
  /** Wanted for roots with derivations. */
  readonly readDerivation?: ReadDerivation;
  /** Where sources come from that no cache has; they are problems where it is not given. */
  readonly supply?: SourceSupply;
  readonly trustedKeys: readonly PublicKey[];
  /** Which scopes to work out beside the one that is carried, to compare. */
  readonly compare?: readonly Scope[];
  readonly carries?: CarryOptions;
  /** Asked for what channels among the roots have besides their paths; nothing of that is counted unless given. */
  readonly findChannel?: (name: string) => Promise<ChannelRelease>;
  readonly onProgress: OnProgress;
  readonly signal: AbortSignal;
}

/** Asks upstreams in their order for the first narinfo that `accept` takes. */
export interface NarInfoFinder {
  find(
    hashPart: HashPart,
    options: { readonly signal: AbortSignal; readonly accept: (info: NarInfo, upstream: Upstream) => boolean },
  ): Promise<{ readonly upstream: Upstream; readonly info: NarInfo } | undefined>;
}

/** Asked in their order for realisations. */
export interface RealisationSources {
  readonly upstreams?: readonly RealisationSource[];
}

/**
 * Works out what each root needs at its scope, and for every path whether it is here already, to be fetched, or a problem. Reads narinfos
 * and derivations only. A path is taken from an upstream when a trusted key signed it, or when its `CA:` explains its name (its contents are
 * then checked after the download); a path that no upstream has comes from a local store.
 */
export async function planCollect(inputs: PlanInputs): Promise<CollectPlan> {
  const { onProgress, roots, signal } = inputs;
  onProgress({ type: 'phase', phase: 'read narinfos' });
  const { compare = [], carries = {}, readDerivation = async () => undefined, storeDir, supply } = inputs;
  const sources = new KnownSources({ readDerivation, storeDir, supply });
  const finder = new PathFinder({ ...inputs, sources, onFound: () => onProgress({ type: 'advance', items: 1 }) });
  const realisations = new RealisationFinder({ ...inputs, upstreams: inputs.upstreams.upstreams ?? [] });
  const planned: PlannedRoot[] = [];
  for (const root of roots) {
    planned.push(
      await planRoot({
        root,
        finder,
        realisations,
        sources,
        compare,
        carries,
        readDerivation,
        storeDir,
        signal,
        onProgress,
      }),
    );
  }
  const wanted = new Map<StorePath, FoundPath>();
  for (const { carried } of planned) for (const [path, { found }] of carried.paths) wanted.set(path, found);
  const toFetch = inTopologicalOrder(wanted);
  const problems = new Map(planned.flatMap(({ carried }) => carried.problems).map((one) => [one.storePath, one]));
  const channels = await planChannels(inputs);
  const channelBytes = channels.reduce((sum, { isHere, sizeBytes }) => sum + (isHere ? 0 : sizeBytes), 0);
  return {
    roots: planned,
    channels,
    toFetch,
    present: new Set([...wanted.values()].filter(({ kind }) => kind === 'present').map(({ storePath }) => storePath)),
    problems: [...problems.values()].sort((a, b) => (a.storePath < b.storePath ? -1 : 1)),
    downloadBytes: toFetch.reduce((sum, path) => sum + downloadBytesOf(path), channelBytes),
    downloadIsExact: toFetch.every(hasExactSize),
    ...estimateUnsized(planned, toFetch),
    unpackedBytes: [...wanted.values()].reduce((sum, path) => sum + narSizeBytesOf(path), 0),
    freeBytes: await freeBytes(inputs.mirrorDirectory),
  };
}

function hasExactSize(path: PlannedPath): boolean {
  return path.kind === 'source' || (path.kind === 'upstream' && path.info.fileSizeBytes !== undefined);
}

function estimateUnsized(
  roots: readonly PlannedRoot[],
  toFetch: readonly PlannedPath[],
): Pick<CollectPlan, 'unsizedSources' | 'unsizedBytes'> {
  const unsizedSources = toFetch.filter(({ kind }) => kind === 'source').length;
  const members = roots.flatMap(({ carried }) => [...carried.paths.values()]);
  const sized = members.filter(({ found, reason }) => reason.kind === 'fixed-output' && found.kind !== 'source');
  if (sized.length === 0) return { unsizedSources, unsizedBytes: unsizedSources === 0 ? 0 : undefined };
  const average = sized.reduce((sum, { found }) => sum + narSizeBytesOf(found), 0) / sized.length;
  return { unsizedSources, unsizedBytes: Math.round(average * unsizedSources) };
}

/** References before referrers, so that what is fetched can be published as it comes. */
function inTopologicalOrder(planned: ReadonlyMap<StorePath, FoundPath>): PlannedPath[] {
  const order: PlannedPath[] = [];
  const entered = new Set<StorePath>();
  for (const start of planned.values()) {
    const stack: { readonly path: FoundPath; next: number }[] = [];
    const enter = (path: FoundPath) => {
      entered.add(path.storePath);
      stack.push({ path, next: 0 });
    };
    if (!entered.has(start.storePath)) enter(start);
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const reference = top.path.references[top.next];
      top.next += 1;
      if (reference === undefined) {
        if (top.path.kind !== 'present') order.push(top.path);
        stack.pop();
        continue;
      }
      const child = planned.get(reference);
      if (child !== undefined && !entered.has(reference)) enter(child);
    }
  }
  return order;
}
