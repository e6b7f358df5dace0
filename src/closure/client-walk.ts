import type { StorePath } from '../nix/store-path.ts';
import { type ClientWorld, decide, findOutputs, outputKey, type PathFacts } from './decide.ts';
import type { DerivationNode } from './derivation-graph.ts';
import type { Facts } from './facts.ts';

/** Why a path is asked for. */
export type ReasonKind =
  /** A root is it, or refers to it. */
  | 'runtime'
  /** Evaluating a root reads it. */
  | 'evaluation'
  /** A `.drv` file, or what one refers to. */
  | 'derivation'
  /** A derivation that the client builds is built from it; or it was asked for to be built, and a cache has it. */
  | 'build-input'
  /** A source of such a derivation that is no output of another. */
  | 'input-source'
  /** An output that states what it must be, so that it may be had from anywhere. */
  | 'fixed-output'
  /** A package that is carried was built from it. */
  | 'package-input';

export interface Reason {
  readonly kind: ReasonKind;
  /** The derivation that is built from it, or the path that refers to it; undefined where it was asked for by itself. */
  readonly wantedBy: StorePath | undefined;
}

/** What nobody has, or nobody may give. */
export interface Hole {
  readonly kind: 'path' | 'derivation' | 'fixed-output';
  readonly reason: Reason;
  /** What would make it: of a fixed output. */
  readonly derivation?: StorePath;
}

export interface WalkOptions {
  /** What comes of a fixed output that nobody offers: its fetcher is built and run, as Nix would try; or it is a hole. */
  readonly fixedOutputs: 'build' | 'give-up';
}

/**
 * Goes the way that a client goes who asks for outputs: one comes from a cache with all that it refers to; else its derivation is built,
 * for which outputs of its inputs are asked in turn.
 */
export class ClientWalk<Known extends PathFacts> {
  /** The derivations that are built. */
  readonly builds = new Map<StorePath, Reason>();
  /** The paths that come from a cache. */
  readonly paths = new Map<StorePath, Reason>();
  readonly holes = new Map<StorePath, Hole>();
  /** Outputs that were wanted and that no cache offers, so that their derivations are built. */
  readonly absentOutputs = new Map<StorePath, Reason>();
  /** What wanted outputs of floating derivations are, by `outputKey`. */
  readonly realised = new Map<string, StorePath>();
  readonly #world: ClientWorld<Known>;
  readonly #options: WalkOptions;
  readonly #seenPaths = new Set<StorePath>();
  readonly #seenRequests = new Set<number>();
  #queue: (() => void)[] = [];
  #asleep = 0;

  constructor(world: ClientWorld<Known>, options: WalkOptions) {
    this.#world = world;
    this.#options = options;
  }

  /** Asks for outputs of a derivation. */
  wantOutputs(node: DerivationNode, outputNames: Iterable<string>, reason: Reason): void {
    this.#request(node, this.#world.graph.outputNames.idOf(outputNames), reason);
  }

  /** Asks for a path itself: it is a hole where nobody has it, whatever could be built. */
  wantPath(path: StorePath, reason: Reason): void {
    if (this.#seenPaths.has(path)) return;
    this.#seenPaths.add(path);
    this.#queue.push(() => this.#visitPath(path, reason));
  }

  /** Asks for a path if somebody has it. */
  wantPathIfThere(path: StorePath, reason: Reason): void {
    this.#visit(() => {
      if (!this.#world.paths.has(path)) return { facts: this.#world.paths, keys: [path] };
      if (this.#isOffered(path)) this.wantPath(path, reason);
      return undefined;
    });
  }

  /** Asks for outputs as paths, as if nothing could be built; where `mayBeAbsent`, only for those that somebody has. */
  wantOutputPaths(node: DerivationNode, outputNames: readonly string[], reason: Reason, mayBeAbsent: boolean): void {
    this.#visit(() => {
      const found = node.problem === undefined ? findOutputs(this.#world, node, outputNames, true) : 'unknown';
      if (found === 'unknown') {
        if (!mayBeAbsent) this.#addHole(node.drvPath, { kind: 'derivation', reason });
        return undefined;
      }
      if ('kind' in found) return found;
      this.#noteRealised(node, outputNames);
      for (const path of found) {
        if (mayBeAbsent) this.wantPathIfThere(path, reason);
        else this.wantPath(path, reason);
      }
      return undefined;
    });
  }

  /** Asks for what a fixed-output derivation must give; a hole where nobody has it. */
  wantFixedOutput(node: DerivationNode, reason: Reason): void {
    for (const { path } of node.outputs) {
      if (path === undefined || this.#seenPaths.has(path)) continue;
      this.#visit(() => {
        const { paths: facts, rules } = this.#world;
        if (!facts.has(path)) return { facts, keys: [path] };
        const known = facts.get(path);
        if (known !== undefined && rules.offersOutput(known, node)) this.wantPath(path, reason);
        else this.#addHole(path, { kind: 'fixed-output', reason, derivation: node.drvPath });
        return undefined;
      });
    }
  }

  /** Asks for all that a derivation is built from. */
  wantInputs(node: DerivationNode, kind: 'build-input' | 'package-input'): void {
    const { graph } = this.#world;
    const sourceReason: Reason = { kind: 'input-source', wantedBy: node.drvPath };
    for (const source of node.sources) this.wantPath(source, sourceReason);
    const reason: Reason = { kind, wantedBy: node.drvPath };
    for (const { input, outputNamesId } of graph.inputsOf(node)) this.#request(input, outputNamesId, reason);
  }

  /** Resolves when all that was asked for is settled. Throws what asking for facts threw. */
  async settle(): Promise<void> {
    const { paths, realisations } = this.#world;
    for (;;) {
      this.#drain();
      if (this.#asleep === 0) return;
      const arrivals = [paths.nextArrival()];
      if (realisations !== undefined) arrivals.push(realisations.nextArrival());
      await Promise.race(arrivals);
    }
  }

  #drain(): void {
    while (this.#queue.length > 0) {
      const round = this.#queue;
      this.#queue = [];
      for (const visit of round) visit();
    }
  }

  #request(node: DerivationNode, outputNamesId: number, reason: Reason): void {
    const key = requestKey(node, outputNamesId);
    if (this.#seenRequests.has(key)) return;
    this.#seenRequests.add(key);
    this.#visit(() => this.#visitOutputs(node, this.#world.graph.outputNames.namesOf(outputNamesId), reason));
  }

  #visitOutputs(node: DerivationNode, outputNames: readonly string[], reason: Reason): Question | undefined {
    const decision = decide(this.#world, node, outputNames);
    if (decision.kind === 'open') return decision;
    if (decision.kind === 'unreadable') this.#addHole(node.drvPath, { kind: 'derivation', reason });
    if (decision.kind === 'fetch') {
      this.#noteRealised(node, outputNames);
      for (const path of decision.outputs) this.wantPath(path, outputReason(node, reason));
    }
    if (decision.kind === 'build') {
      for (const path of decision.absent) if (!this.absentOutputs.has(path)) this.absentOutputs.set(path, reason);
      this.#build(node, decision, reason);
    }
    return undefined;
  }

  #build(
    node: DerivationNode,
    { outputs, absent }: { readonly outputs: readonly StorePath[]; readonly absent: readonly StorePath[] },
    reason: Reason,
  ): void {
    if (node.kind === 'fixed' && this.#options.fixedOutputs === 'give-up') {
      for (const path of absent) this.#addHole(path, { kind: 'fixed-output', reason, derivation: node.drvPath });
      if (absent.length > 0) return;
      for (const path of outputs) this.wantPath(path, outputReason(node, reason));
    }
    if (this.builds.has(node.drvPath)) return;
    this.builds.set(node.drvPath, reason);
    this.wantInputs(node, 'build-input');
  }

  #visitPath(path: StorePath, reason: Reason): void {
    const { rules, paths: facts } = this.#world;
    if (rules.isPresent?.(path) === true) return;
    if (!facts.has(path)) {
      this.#sleep(facts, [path], () => this.#visitPath(path, reason));
      return;
    }
    const known = facts.get(path);
    if (known === undefined || !rules.offersPath(known)) {
      this.#addHole(path, { kind: 'path', reason });
      return;
    }
    this.paths.set(path, reason);
    const further: Reason = { kind: reason.kind, wantedBy: path };
    for (const reference of known.references) this.wantPath(reference, further);
  }

  #isOffered(path: StorePath): boolean {
    const known = this.#world.paths.get(path);
    return known !== undefined && this.#world.rules.offersPath(known);
  }

  #noteRealised(node: DerivationNode, outputNames: readonly string[]): void {
    for (const { name, path } of node.outputs) {
      if (path !== undefined || !outputNames.includes(name)) continue;
      const key = outputKey(node.drvPath, name);
      const realised = this.#world.realisations?.get(key);
      if (realised !== undefined) this.realised.set(key, realised);
    }
  }

  #addHole(path: StorePath, hole: Hole): void {
    if (!this.holes.has(path)) this.holes.set(path, hole);
  }

  /** `work` gives what must be asked before it can be done; it is called again then. */
  #visit(work: () => Question | undefined): void {
    this.#queue.push(() => {
      const question = work();
      if (question !== undefined) this.#sleep(question.facts, question.keys, () => this.#visit(work));
    });
  }

  #sleep(facts: Question['facts'], [first = '', ...others]: readonly string[], again: () => void): void {
    this.#asleep += 1;
    facts.want(first, () => {
      this.#asleep -= 1;
      this.#queue.push(again);
    });
    for (const key of others) facts.want(key);
  }
}

/** One number for a derivation and a list of its outputs. */
export function requestKey(node: DerivationNode, outputNamesId: number): number {
  return node.index * REQUESTS_PER_NODE + outputNamesId;
}

interface Question {
  readonly facts: Pick<Facts<unknown>, 'want'>;
  readonly keys: readonly string[];
}

const REQUESTS_PER_NODE = 2 ** 21;

function outputReason(node: DerivationNode, reason: Reason): Reason {
  return node.kind === 'fixed' ? { ...reason, kind: 'fixed-output' } : reason;
}
