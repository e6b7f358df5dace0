import { freeBytes } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import type { OnProgress } from '../base/progress.ts';
import type { LocalPath, LocalStore } from '../evaluate/local-store.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { type HashPart, hashPartOf, type NarInfo, type PublicKey, type StorePath } from '../nix/index.ts';
import type { Upstream } from '../upstream/upstream.ts';
import { describeUntrusted, isAcceptable } from './acceptable.ts';
import { crawl } from './crawl.ts';
import type { ResolvedRoot } from './resolve-roots.ts';

/** A path that will be fetched from an upstream, or dumped from the local store where no upstream has it. */
export type PlannedPath =
  | {
      readonly kind: 'upstream';
      readonly storePath: StorePath;
      readonly references: readonly StorePath[];
      readonly info: NarInfo;
      readonly upstream: Upstream;
    }
  | {
      readonly kind: 'local';
      readonly storePath: StorePath;
      readonly references: readonly StorePath[];
      readonly local: LocalPath;
    };

export type ProblemKind =
  /** No upstream has it and the local store neither. */
  | 'absent'
  /** The output of a derivation that is not built: neither here nor on an upstream. */
  | 'not-built'
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
}

export interface CollectPlan {
  readonly roots: readonly ResolvedRoot[];
  readonly toFetch: readonly PlannedPath[];
  readonly present: ReadonlySet<StorePath>;
  readonly problems: readonly CollectProblem[];
  /** Bytes that will cross the network or be dumped, and take room in the mirror. */
  readonly downloadBytes: number;
  /** False when some upstream does not state FileSize: then downloadBytes counts NarSize, which it cannot exceed by much. */
  readonly downloadIsExact: boolean;
  /** Sum of NarSize of all paths, here and to come: what the closure takes in a client's store. */
  readonly unpackedBytes: number;
  readonly freeBytes: number;
}

export interface PlanInputs {
  readonly roots: readonly ResolvedRoot[];
  /** Undefined where the mirror does not exist yet. */
  readonly mirror: Mirror | undefined;
  readonly mirrorDirectory: string;
  readonly upstreams: NarInfoFinder;
  readonly localStore: LocalStore | undefined;
  readonly trustedKeys: readonly PublicKey[];
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

/**
 * Follows references from the roots until every path is known: here already, to be fetched, or a problem. Reads narinfos only.
 * A path is taken from an upstream when a trusted key signed it, or when its `CA:` explains its name (its contents are then
 * checked after the download); a path that no upstream has comes from the local store.
 */
export async function planCollect(inputs: PlanInputs): Promise<CollectPlan> {
  const state = new PlanState(inputs);
  inputs.onProgress({ type: 'phase', phase: 'read narinfos' });
  let seeds: Iterable<StorePath> = inputs.roots.flatMap((root) => root.paths);
  while (true) {
    await crawl(seeds, LIMITS.narInfoRequestsInFlight, (path) => state.visit(path));
    seeds = await state.askLocalStore();
    if (seeds[Symbol.iterator]().next().done === true) break;
  }
  return state.finish(await freeBytes(inputs.mirrorDirectory));
}

class PlanState {
  readonly #inputs: PlanInputs;
  readonly #planned = new Map<StorePath, PlannedPath>();
  readonly #present = new Set<StorePath>();
  readonly #problems = new Map<StorePath, CollectProblem>();
  readonly #wantedBy = new Map<StorePath, StorePath>();
  readonly #derivationOutputs: ReadonlySet<StorePath>;
  /** On no upstream; still to be looked up in the local store. */
  #notUpstream = new Map<StorePath, CollectProblem>();
  #unpackedBytes = 0;

  constructor(inputs: PlanInputs) {
    this.#inputs = inputs;
    this.#derivationOutputs = new Set(inputs.roots.filter((root) => root.fromDerivation).flatMap((root) => root.paths));
  }

  async visit(path: StorePath): Promise<readonly StorePath[]> {
    if (this.#planned.has(path) || this.#present.has(path) || this.#problems.has(path)) return [];
    const { mirror, onProgress } = this.#inputs;
    const here = await mirror?.readNarInfo(hashPartOf(path));
    onProgress({ type: 'advance', items: 1 });
    if (here !== undefined && here.storePath === path) {
      this.#present.add(path);
      this.#unpackedBytes += here.narSizeBytes;
      return this.#discover(path, here.references);
    }
    return this.#visitUpstream(path);
  }

  async #visitUpstream(path: StorePath): Promise<readonly StorePath[]> {
    const { upstreams, signal, trustedKeys } = this.#inputs;
    const refused: NarInfo[] = [];
    const accept = (info: NarInfo) => {
      if (isAcceptable(info, path, trustedKeys)) return true;
      refused.push(info);
      return false;
    };
    let problem: CollectProblem;
    try {
      const found = await upstreams.find(hashPartOf(path), { signal, accept });
      if (found !== undefined) {
        const { info, upstream } = found;
        this.#planned.set(path, { kind: 'upstream', storePath: path, references: info.references, info, upstream });
        this.#unpackedBytes += info.narSizeBytes;
        return this.#discover(path, info.references);
      }
      problem = refused[0] === undefined ? this.#absent(path) : this.#untrusted(refused[0]);
    } catch (error) {
      if (signal.aborted) throw error;
      problem = this.#problem(path, 'upstream-error', error instanceof Error ? error.message : String(error));
    }
    // Only what no upstream has is taken from the local store: where one has it, its signature is worth more than ours.
    const isAbsent = problem.kind === 'absent' || problem.kind === 'not-built';
    (isAbsent ? this.#notUpstream : this.#problems).set(path, problem);
    return [];
  }

  /** Looks the paths that no upstream gave up in the local store; gives what those refer to. */
  async askLocalStore(): Promise<StorePath[]> {
    const { localStore, signal } = this.#inputs;
    const asked = this.#notUpstream;
    this.#notUpstream = new Map();
    const found = asked.size === 0 ? undefined : await localStore?.query([...asked.keys()], signal);
    const discovered: StorePath[] = [];
    for (const [path, problem] of asked) {
      const local = found?.get(path);
      if (local === undefined) {
        this.#problems.set(path, problem);
        continue;
      }
      this.#planned.set(path, { kind: 'local', storePath: path, references: local.references, local });
      this.#unpackedBytes += local.narSizeBytes;
      discovered.push(...this.#discover(path, local.references));
    }
    return discovered;
  }

  finish(free: number): CollectPlan {
    const toFetch = inTopologicalOrder(this.#planned);
    const sizes = toFetch.map((path) => (path.kind === 'upstream' ? path.info.fileSizeBytes : undefined));
    const atMost = toFetch.map((path) => (path.kind === 'upstream' ? path.info.narSizeBytes : path.local.narSizeBytes));
    return {
      roots: this.#inputs.roots,
      toFetch,
      present: this.#present,
      problems: [...this.#problems.values()].sort((a, b) => (a.storePath < b.storePath ? -1 : 1)),
      downloadBytes: sizes.reduce<number>((sum, size, i) => sum + (size ?? atMost[i] ?? 0), 0),
      downloadIsExact: sizes.every((size) => size !== undefined),
      unpackedBytes: this.#unpackedBytes,
      freeBytes: free,
    };
  }

  #discover(from: StorePath, references: readonly StorePath[]): readonly StorePath[] {
    for (const reference of references) {
      if (reference !== from && !this.#wantedBy.has(reference)) this.#wantedBy.set(reference, from);
    }
    return references;
  }

  #absent(path: StorePath): CollectProblem {
    if (this.#derivationOutputs.has(path)) {
      return this.#problem(path, 'not-built', 'no upstream has it, and it is not built here yet');
    }
    return this.#problem(path, 'absent', 'no upstream has it, and the local store neither');
  }

  #untrusted(info: NarInfo): CollectProblem {
    return this.#problem(info.storePath, 'untrusted', describeUntrusted(info));
  }

  #problem(storePath: StorePath, kind: ProblemKind, detail: string): CollectProblem {
    return { storePath, kind, detail, wantedBy: this.#wantedBy.get(storePath) };
  }
}

/** References before referrers, so that what is fetched can be published as it comes. */
function inTopologicalOrder(planned: ReadonlyMap<StorePath, PlannedPath>): PlannedPath[] {
  const order: PlannedPath[] = [];
  const entered = new Set<StorePath>();
  for (const start of planned.values()) {
    const stack: { readonly path: PlannedPath; next: number }[] = [];
    const enter = (path: PlannedPath) => {
      entered.add(path.storePath);
      stack.push({ path, next: 0 });
    };
    if (!entered.has(start.storePath)) enter(start);
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const reference = top.path.references[top.next];
      top.next += 1;
      if (reference === undefined) {
        order.push(top.path);
        stack.pop();
        continue;
      }
      const child = planned.get(reference);
      if (child !== undefined && !entered.has(reference)) enter(child);
    }
  }
  return order;
}
