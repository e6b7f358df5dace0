import type { StorePath } from '../nix/store-path.ts';
import { type ChainOf, chainsOf, waysDown } from './chains.ts';
import { type ClientWalk, requestKey } from './client-walk.ts';
import { type ClientWorld, type Decision, decide, type PathFacts } from './decide.ts';
import type { DerivationNode, NodeInput } from './derivation-graph.ts';

/** What a client would lack. */
export interface Lack {
  readonly path: StorePath;
  /**
   * `path`: asked for itself, and not there. `output`: of a derivation that cannot be built either with what is there. `fixed-output`: of one that
   * would have to fetch it. `derivation`: a `.drv` file that is not there or damaged.
   */
  readonly kind: 'path' | 'output' | 'fixed-output' | 'derivation';
  /** What would make it. */
  readonly derivation: StorePath | undefined;
  /** Who wants it: first the root, last the one that wants it directly. Empty for a root. */
  readonly chain: readonly StorePath[];
  /** Some of what is missing for building an `output` instead. */
  readonly lacks: readonly StorePath[];
}

export interface DiagnosisInputs<Known extends PathFacts> {
  readonly world: ClientWorld<Known>;
  /** Settled, and with fixed outputs built, so that everything below is known. */
  readonly walk: ClientWalk<Known>;
  readonly targets: readonly NodeInput[];
  /** What the mirror should have: where one of these is missing, it is named, not what it would be built into. */
  readonly expected?: ((path: StorePath) => boolean) | undefined;
}

/**
 * Names what is missing so that all targets can be had. Everything below one missing output may be missing, too, down to the compiler's own
 * sources, and carrying that output would mend it all. So the highest output is named that a cache could give: what is asked for, and what must
 * be built in any case, is looked into.
 */
export function diagnose<Known extends PathFacts>(inputs: DiagnosisInputs<Known>): Lack[] {
  if (inputs.walk.holes.size === 0 && !someFetcherRuns(inputs)) return [];
  return new Diagnosis(inputs).run();
}

/** How many of the things that building an output lacks are named beside it. */
const LACKS_NAMED = 3;

class Diagnosis<Known extends PathFacts> {
  readonly #inputs: DiagnosisInputs<Known>;
  readonly #chainOf: ChainOf;
  /** Paths that are in the cache, but refer to what is not. */
  readonly #broken: ReadonlySet<StorePath>;
  /** Derivations that are built, and cannot be. */
  readonly #failing: ReadonlySet<DerivationNode>;
  /** Those below which something is missing that was expected. */
  readonly #hiding: ReadonlySet<DerivationNode>;
  readonly #lacks = new Map<StorePath, Lack>();
  readonly #parents = new Map<DerivationNode, DerivationNode | undefined>();
  readonly #decisions = new Map<number, Decision>();

  constructor(inputs: DiagnosisInputs<Known>) {
    this.#inputs = inputs;
    const { walk, world, targets } = inputs;
    const roots = targets.map(({ input }) => input);
    this.#chainOf = chainsOf(walk, waysDown(world.graph, roots));
    this.#broken = findBroken(walk, world);
    const users = this.#users();
    const built = [...users.keys()];
    this.#failing = spread(
      built.filter((node) => this.#failsByItself(node)),
      users,
    );
    this.#hiding = spread(
      built.filter((node) => this.#failing.has(node) && this.#lacksExpected(node)),
      users,
    );
  }

  run(): Lack[] {
    for (const path of this.#lackingRoots()) this.#addHoles(path);
    const waiting = new Set<DerivationNode>();
    for (const target of this.#inputs.targets) this.#descend(target, undefined, waiting);
    // Also what is added meanwhile.
    for (const node of waiting) {
      for (const source of node.sources) this.#addHoles(source);
      for (const input of this.#inputs.world.graph.inputsOf(node)) this.#descend(input, node, waiting);
    }
    return [...this.#lacks.values()];
  }

  #descend(request: NodeInput, from: DerivationNode | undefined, waiting: Set<DerivationNode>): void {
    const { input } = request;
    const decision = this.#decide(request);
    if (decision.kind === 'unreadable') this.#add(input.drvPath, 'derivation', input, from);
    if (decision.kind === 'fetch') for (const path of decision.outputs) this.#addHoles(path);
    if (decision.kind !== 'build' || !this.#failing.has(input)) return;
    if (!this.#parents.has(input)) this.#parents.set(input, from);
    const { absent } = decision;
    if (input.kind === 'fixed') {
      for (const path of decision.outputs) this.#add(path, 'fixed-output', input, from);
      return;
    }
    const isNamed =
      absent.some((path) => this.#inputs.expected?.(path) === true) || !(from === undefined || this.#hiding.has(input));
    if (isNamed && absent.length > 0) for (const path of absent) this.#add(path, 'output', input, from);
    else waiting.add(input);
  }

  #add(path: StorePath, kind: Lack['kind'], node: DerivationNode, from: DerivationNode | undefined): void {
    if (this.#lacks.has(path)) return;
    const chain: StorePath[] = [];
    for (let above = from; above !== undefined; above = this.#parents.get(above)) chain.push(above.drvPath);
    const derivation = kind === 'derivation' ? undefined : node.drvPath;
    const lacks = kind === 'output' ? this.#lacksOf(node) : [];
    this.#lacks.set(path, { path, kind, derivation, chain: chain.toReversed(), lacks });
  }

  #addHoles(start: StorePath): void {
    for (const path of this.#holesBelow(start)) {
      const hole = this.#inputs.walk.holes.get(path);
      if (hole === undefined || this.#lacks.has(path)) continue;
      const chain = this.#chainOf(hole.reason);
      this.#lacks.set(path, { path, kind: 'path', derivation: undefined, chain, lacks: [] });
    }
  }

  /** The path itself where it is missing, else what it refers to over several paths, as far as that is. */
  #holesBelow(start: StorePath): readonly StorePath[] {
    const { walk, world } = this.#inputs;
    if (walk.holes.has(start)) return [start];
    if (!this.#broken.has(start)) return [];
    const reached = new Set([start]);
    for (const path of reached) {
      if (!this.#broken.has(path)) continue;
      for (const reference of world.paths.get(path)?.references ?? []) reached.add(reference);
    }
    return [...reached].filter((path) => walk.holes.has(path));
  }

  /** Of the paths that were asked for themselves. */
  #lackingRoots(): readonly StorePath[] {
    const { paths, holes } = this.#inputs.walk;
    const roots = [...holes].filter(([, { kind, reason }]) => kind === 'path' && reason.wantedBy === undefined);
    return [
      ...roots.map(([path]) => path),
      ...[...this.#broken].filter((path) => paths.get(path)?.wantedBy === undefined),
    ];
  }

  /** Some of the bottommost things that keep a derivation from being built. */
  #lacksOf(node: DerivationNode): readonly StorePath[] {
    const found = new Set<StorePath>();
    const reached = new Set([node]);
    for (const below of reached) {
      for (const path of this.#ownLacks(below)) {
        if (found.size === LACKS_NAMED) return [...found];
        found.add(path);
      }
      for (const request of this.#inputs.world.graph.inputsOf(below)) {
        if (this.#decide(request).kind === 'build' && this.#failing.has(request.input)) reached.add(request.input);
      }
    }
    return [...found];
  }

  #failsByItself(node: DerivationNode): boolean {
    for (const _ of this.#ownLacks(node)) return true;
    return false;
  }

  #lacksExpected(node: DerivationNode): boolean {
    const { expected, world } = this.#inputs;
    if (expected === undefined) return false;
    for (const path of this.#ownLacks(node)) if (expected(path)) return true;
    return world.graph.inputsOf(node).some((request) => {
      const decision = this.#decide(request);
      return decision.kind === 'build' && this.#failing.has(request.input) && decision.absent.some(expected);
    });
  }

  /** What is missing for a derivation other than outputs that are built in turn. */
  *#ownLacks(node: DerivationNode): Generator<StorePath> {
    const { world } = this.#inputs;
    if (node.kind === 'fixed') {
      for (const { path } of node.outputs) if (path !== undefined) yield path;
      return;
    }
    for (const source of node.sources) yield* this.#holesBelow(source);
    for (const request of world.graph.inputsOf(node)) {
      const decision = this.#decide(request);
      if (decision.kind === 'unreadable') yield request.input.drvPath;
      if (decision.kind === 'fetch') for (const path of decision.outputs) yield* this.#holesBelow(path);
    }
  }

  #decide({ input, outputNamesId }: NodeInput): Decision {
    const key = requestKey(input, outputNamesId);
    const known = this.#decisions.get(key);
    if (known !== undefined) return known;
    const { world } = this.#inputs;
    const decision = decide(world, input, world.graph.outputNames.namesOf(outputNamesId));
    this.#decisions.set(key, decision);
    return decision;
  }

  /** For each derivation that is built, those that are built from it. */
  #users(): Map<DerivationNode, DerivationNode[]> {
    const { walk, world } = this.#inputs;
    const users = new Map<DerivationNode, DerivationNode[]>();
    for (const drvPath of walk.builds.keys()) {
      const node = world.graph.find(drvPath);
      if (node !== undefined) users.set(node, []);
    }
    for (const node of users.keys()) {
      if (node.kind === 'fixed') continue;
      for (const request of world.graph.inputsOf(node)) {
        if (this.#decide(request).kind === 'build') users.get(request.input)?.push(node);
      }
    }
    return users;
  }
}

/** Whether the client would run something that fetches. */
function someFetcherRuns<Known extends PathFacts>({ walk, world }: DiagnosisInputs<Known>): boolean {
  for (const drvPath of walk.builds.keys()) if (world.graph.find(drvPath)?.kind === 'fixed') return true;
  return false;
}

function findBroken<Known extends PathFacts>(
  walk: ClientWalk<Known>,
  world: ClientWorld<Known>,
): ReadonlySet<StorePath> {
  if (walk.holes.size === 0) return new Set();
  const referrers = new Map<StorePath, StorePath[]>();
  for (const path of walk.paths.keys()) {
    for (const reference of world.paths.get(path)?.references ?? []) {
      if (reference === path) continue;
      const list = referrers.get(reference);
      if (list === undefined) referrers.set(reference, [path]);
      else list.push(path);
    }
  }
  const reached = spread(walk.holes.keys(), referrers);
  return new Set([...reached].filter((path) => !walk.holes.has(path)));
}

/** The items and all that lies above them. */
function spread<Item>(items: Iterable<Item>, above: ReadonlyMap<Item, readonly Item[]>): ReadonlySet<Item> {
  const reached = new Set(items);
  for (const item of reached) for (const next of above.get(item) ?? []) reached.add(next);
  return reached;
}
