import { Batches } from '../base/batches.ts';
import type { LocalPath, LocalStore } from '../evaluate/local-store.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { type ContentAddress, hashPartOf, type NarInfo, type PublicKey, type StorePath } from '../nix/index.ts';
import type { FixedSource } from '../sources/fixed-source.ts';
import type { Upstream } from '../upstream/upstream.ts';
import { describeUntrusted, isAcceptable } from './acceptable.ts';
import type { KnownSources } from './known-sources.ts';
import type { CollectProblem, NarInfoFinder } from './plan.ts';

/**
 * A path that will be fetched from an upstream, dumped from a store of this machine where no upstream has it, or, a source that neither has, brought from
 * where it comes from.
 */
export type PlannedPath =
  | {
      readonly kind: 'upstream';
      readonly storePath: StorePath;
      readonly references: readonly StorePath[];
      readonly info: NarInfo;
      readonly upstream: Upstream;
      /** What a derivation declares of its contents, where one does. */
      readonly declared?: ContentAddress;
    }
  | {
      readonly kind: 'local';
      readonly storePath: StorePath;
      readonly references: readonly StorePath[];
      readonly local: LocalPath;
      readonly store: LocalStore;
      readonly declared?: ContentAddress;
    }
  | {
      readonly kind: 'source';
      readonly storePath: StorePath;
      readonly references: readonly StorePath[];
      readonly source: FixedSource;
    };

export type FoundPath =
  | PlannedPath
  | {
      readonly kind: 'present';
      readonly storePath: StorePath;
      readonly references: readonly StorePath[];
      readonly info: NarInfo;
    };

/** Bytes that will cross the network or be dumped; at most NarSize where FileSize is not stated, and nothing for sources, whose size nobody states. */
export function downloadBytesOf(path: FoundPath): number {
  if (path.kind === 'present' || path.kind === 'source') return 0;
  return path.kind === 'local' ? path.local.narSizeBytes : (path.info.fileSizeBytes ?? path.info.narSizeBytes);
}

export function narSizeBytesOf(path: FoundPath): number {
  if (path.kind === 'source') return 0;
  return path.kind === 'local' ? path.local.narSizeBytes : path.info.narSizeBytes;
}

export interface PathFinderInputs {
  /** Undefined where the mirror does not exist yet. */
  readonly mirror: Mirror | undefined;
  readonly upstreams: NarInfoFinder;
  /** Stores of this machine, asked in this order for what no upstream has. */
  readonly localStores: readonly LocalStore[];
  readonly sources: KnownSources;
  readonly trustedKeys: readonly PublicKey[];
  readonly onFound: () => void;
  readonly signal: AbortSignal;
}

/** Why a path cannot be had. */
export type PathProblem = Pick<CollectProblem, 'storePath' | 'kind' | 'detail'>;

/**
 * Tells where a path is to be had: here already, from an upstream, from a local store, or not at all. Every path is looked for once,
 * whoever asks and how often; reads narinfos only.
 */
export class PathFinder {
  readonly #inputs: PathFinderInputs;
  readonly #found = new Map<StorePath, Promise<FoundPath | undefined>>();
  readonly #problems = new Map<StorePath, PathProblem>();
  readonly #local: readonly Batches<StorePath, LocalPath>[];

  constructor(inputs: PathFinderInputs) {
    this.#inputs = inputs;
    const { signal } = inputs;
    this.#local = inputs.localStores.map((store) => new Batches((paths) => store.query(paths, signal)));
  }

  /** Undefined when nobody has it in a way that counts here: `problemOf` says why. */
  find(path: StorePath): Promise<FoundPath | undefined> {
    let found = this.#found.get(path);
    if (found === undefined) {
      found = this.#look(path).finally(this.#inputs.onFound);
      this.#found.set(path, found);
    }
    return found;
  }

  /** Whether a public cache has it: what stands in the mirror with no signature but the mirror's own was made here. */
  isPublic(found: FoundPath): boolean {
    if (found.kind !== 'present') return found.kind === 'upstream';
    const own = `${this.#inputs.mirror?.publicKey.name}:`;
    return found.info.signatures.some((signature) => !signature.startsWith(own));
  }

  problemOf(path: StorePath): PathProblem | undefined {
    return this.#problems.get(path);
  }

  async #look(path: StorePath): Promise<FoundPath | undefined> {
    const here = await this.#inputs.mirror?.readNarInfo(hashPartOf(path));
    if (here?.storePath === path) {
      return { kind: 'present', storePath: path, references: here.references, info: here };
    }
    // A public cache has outputs; where a `.drv` file can be read here, asking for it is a wasted request.
    if (path.endsWith('.drv')) return (await this.#askLocalStores(path)) ?? this.#askUpstreams(path);
    const upstream = await this.#askUpstreams(path);
    if (upstream !== undefined) return this.#withDeclared(upstream);
    // Only what no upstream has is taken from a local store: where one has it, its signature is worth more than ours.
    const local = this.#problems.get(path)?.kind === 'absent' ? await this.#askLocalStores(path) : undefined;
    if (local !== undefined) return this.#withDeclared(local);
    const source = await this.#inputs.sources.find(path);
    if (source === undefined) return undefined;
    this.#problems.delete(path);
    return { kind: 'source', storePath: path, references: [], source };
  }

  /** With a `CA:`, a source needs no signature: it is worth knowing. */
  async #withDeclared(found: FoundPath): Promise<FoundPath> {
    if (found.kind !== 'upstream' && found.kind !== 'local') return found;
    if (found.kind === 'upstream' && found.info.contentAddress !== undefined) return found;
    const source = await this.#inputs.sources.describe(found.storePath);
    return source === undefined ? found : { ...found, declared: source.address };
  }

  async #askUpstreams(path: StorePath): Promise<FoundPath | undefined> {
    const { upstreams, signal, trustedKeys } = this.#inputs;
    const refused: NarInfo[] = [];
    const accept = (info: NarInfo) => {
      if (isAcceptable(info, path, trustedKeys)) return true;
      refused.push(info);
      return false;
    };
    try {
      const found = await upstreams.find(hashPartOf(path), { signal, accept });
      if (found !== undefined)
        return { kind: 'upstream', storePath: path, references: found.info.references, ...found };
      if (refused[0] === undefined) this.#note(path, 'absent', 'no upstream has it, and the local store neither');
      else this.#note(path, 'untrusted', describeUntrusted(refused[0]));
    } catch (error) {
      if (signal.aborted) throw error;
      this.#note(path, 'upstream-error', error instanceof Error ? error.message : String(error));
    }
    return undefined;
  }

  async #askLocalStores(path: StorePath): Promise<FoundPath | undefined> {
    for (const [index, store] of this.#inputs.localStores.entries()) {
      const local = await this.#local[index]?.get(path);
      if (local === undefined) continue;
      this.#problems.delete(path);
      return { kind: 'local', storePath: path, references: local.references, local, store };
    }
    return undefined;
  }

  #note(storePath: StorePath, kind: PathProblem['kind'], detail: string): void {
    this.#problems.set(storePath, { storePath, kind, detail });
  }
}
