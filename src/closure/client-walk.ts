import type { StorePath } from '../nix/store-path.ts';
import type { DerivationGraph, DerivationNode } from './derivation-graph.ts';
import type { Facts } from './facts.ts';

/** Why a path is asked for. */
export type ReasonKind =
  /** A root is it, or refers to it. */
  | 'runtime'
  /** Evaluating a root reads it. */
  | 'evaluation'
  /** A `.drv` file, or what one refers to. */
  | 'derivation'
  /** A derivation that is built here is built from it. */
  | 'build-input'
  /** A source of such a derivation that is no output of another. */
  | 'input-source'
  /** An output that states what it must be, so that it may be had from anywhere. */
  | 'fixed-output'
  /** A package that is carried is built from it. */
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
  /** What would make it: for `fixed-output`. */
  readonly derivation?: StorePath;
}

/** What is known of a path that somebody has. */
export interface PathFacts {
  readonly references: readonly StorePath[];
}

/** How the walk judges what it meets. */
export interface WalkRules<Known extends PathFacts> {
  /** Whether the client's store has the path already. */
  readonly isPresent?: ((path: StorePath) => boolean) | undefined;
  /** Whether a client that wants the output of this derivation gets it from a cache. */
  readonly offersOutput: (known: Known, node: DerivationNode) => boolean;
  /** Whether a client that wants the path itself gets it. */
  readonly offersPath: (known: Known) => boolean;
  /** What comes of a fixed output that nobody offers: its fetcher is built and run, as Nix tries to, or that is given up. */
  readonly fixedOutputs: 'build' | 'give-up';
  /** As the setting of this name. */
  readonly alwaysAllowSubstitutes?: boolean | undefined;
}

export interface WalkInputs<Known extends PathFacts> {
  readonly graph: DerivationGraph;
  readonly rules: WalkRules<Known>;
  readonly paths: Facts<Known>;
  /** The output of a floating derivation, by `DRV!OUTPUT`. Without it, such derivations are always built. */
  readonly realisations?: Facts<StorePath> | undefined;
}

/**
 * Goes the way that Nix goes when it is asked for outputs: an output comes from a cache with all that it refers to; else its derivation is
 * built, for which outputs of its inputs are asked in turn. (Nix: misc.cc, `Store::queryMissing`)
 */
export class ClientWalk<Known extends PathFacts> {
  /** The derivations that are built. */
  readonly builds = new Map<StorePath, Reason>();
  /** The paths that come from a cache. */
  readonly paths = new Map<StorePath, Reason>();
  readonly holes = new Map<StorePath, Hole>();
  /** Outputs that were wanted, and that no cache offers, so that their derivations are built. */
  readonly absentOutputs = new Map<StorePath, Reason>();
  /** What outputs of floating derivations turned out to be: by `DRV!OUTPUT`. */
  readonly realised = new Map<string, StorePath>();
  readonly #inputs: WalkInputs<Known>;
  readonly #seenPaths = new Set<StorePath>();
  readonly #seenRequests = new Set<number>();
  #queue: (() => void)[] = [];
  #asleep = 0;

  constructor(inputs: WalkInputs<Known>) {
    this.#inputs = inputs;
  }

  /** Asks for outputs of a derivation. */
  wantOutputs(node: DerivationNode, outputNames: Iterable<string>, reason: Reason): void {
    this.#request(node, this.#inputs.graph.outputNames.idOf(outputNames), reason);
  }

  /** Asks for a path itself; whatever it is an output of is not built for it. */
  wantPath(path: StorePath, reason: Reason): void {
    if (this.#seenPaths.has(path)) return;
    this.#seenPaths.add(path);
    this.#queue.push(() => this.#visitPath(path, reason));
  }

  /** Asks for a path if somebody offers it. */
  wantPathIfThere(path: StorePath, reason: Reason): void {
    this.#queue.push(() => {
      if (this.#sleepUntilKnown([path], () => this.wantPathIfThere(path, reason))) return;
      const known = this.#inputs.paths.get(path);
      if (known !== undefined && this.#inputs.rules.offersPath(known)) this.wantPath(path, reason);
    });
  }

  /** Asks for outputs themselves; of floating derivations as far as they are known. They are holes where nobody has them, unless that is allowed. */
  wantRealOutputs(node: DerivationNode, outputNames: Iterable<string>, reason: Reason, mayBeAbsent: boolean): void {
    const names = [...outputNames];
    this.#queue.push(() => {
      const paths = this.#outputPaths(node, names, () => this.wantRealOutputs(node, names, reason, mayBeAbsent));
      if (paths === 'asleep') return;
      if (paths === undefined || node.problem !== undefined) {
        if (!mayBeAbsent) this.#addHole(node.drvPath, { kind: 'derivation', reason });
        return;
      }
      for (const path of paths) {
        if (mayBeAbsent) this.wantPathIfThere(path, reason);
        else this.wantPath(path, reason);
      }
    });
  }

  /** Asks for what a fixed-output derivation must give; a hole where nobody has it, whatever its fetcher could do. */
  wantFixedOutput(node: DerivationNode, reason: Reason): void {
    for (const { path } of node.outputs) {
      if (path === undefined || this.#seenPaths.has(path) || this.holes.has(path)) continue;
      this.#queue.push(() => {
        if (this.#sleepUntilKnown([path], () => this.wantFixedOutput(node, reason))) return;
        if (this.#isOffered(this.#inputs.paths.get(path), node)) this.wantPath(path, reason);
        else this.#addHole(path, { kind: 'fixed-output', reason, derivation: node.drvPath });
      });
    }
  }

  /** Asks for all that a derivation is built from, as if it were built. */
  wantInputs(node: DerivationNode, kind: 'build-input' | 'package-input'): void {
    const { graph } = this.#inputs;
    const reason: Reason = { kind, wantedBy: node.drvPath };
    const sourceReason: Reason = { kind: 'input-source', wantedBy: node.drvPath };
    for (const source of node.sources) this.wantPath(source, sourceReason);
    for (let position = 0; position < node.inputs.length; position += 2) {
      const input = graph.nodes[node.inputs[position] ?? -1];
      if (input !== undefined) this.#request(input, node.inputs[position + 1] ?? -1, reason);
    }
  }

  /** Resolves when all that was asked for is settled. Throws what asking for facts threw. */
  async settle(): Promise<void> {
    for (;;) {
      this.#drain();
      if (this.#asleep === 0) return;
      const { paths, realisations } = this.#inputs;
      await Promise.race(
        realisations === undefined ? [paths.nextArrival()] : [paths.nextArrival(), realisations.nextArrival()],
      );
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
    const key = node.index * REQUESTS_PER_NODE + outputNamesId;
    if (this.#seenRequests.has(key)) return;
    this.#seenRequests.add(key);
    this.#queue.push(() => this.#visitOutputs(node, outputNamesId, reason));
  }

  #visitOutputs(node: DerivationNode, outputNamesId: number, reason: Reason): void {
    const { graph, rules, paths: facts } = this.#inputs;
    if (node.problem !== undefined) {
      this.#addHole(node.drvPath, { kind: 'derivation', reason });
      return;
    }
    const again = (): void => this.#visitOutputs(node, outputNamesId, reason);
    const allowed = node.allowsSubstitutes || rules.alwaysAllowSubstitutes === true;
    const known = this.#outputPaths(node, graph.outputNames.namesOf(outputNamesId), again, allowed);
    if (known === 'asleep') return;
    const wanted = known?.filter((path) => rules.isPresent?.(path) !== true);
    if (wanted?.length === 0) return;
    // Where substitution is off, only fixed outputs are worth looking for: they cannot be made here.
    if (wanted !== undefined && (allowed || node.kind === 'fixed') && this.#sleepUntilKnown(wanted, again)) return;
    const absent = wanted?.filter((path) => !this.#isOffered(facts.get(path), node)) ?? [];
    if (wanted !== undefined && allowed && absent.length === 0) {
      for (const path of wanted)
        this.wantPath(path, node.kind === 'fixed' ? { ...reason, kind: 'fixed-output' } : reason);
      return;
    }
    for (const path of absent) if (!this.absentOutputs.has(path)) this.absentOutputs.set(path, reason);
    this.#build(node, wanted ?? [], absent, reason);
  }

  #build(node: DerivationNode, wanted: readonly StorePath[], absent: readonly StorePath[], reason: Reason): void {
    if (node.kind === 'fixed' && this.#inputs.rules.fixedOutputs === 'give-up') {
      for (const path of absent) this.#addHole(path, { kind: 'fixed-output', reason, derivation: node.drvPath });
      if (absent.length > 0) return;
      for (const path of wanted) this.wantPath(path, { ...reason, kind: 'fixed-output' });
    }
    if (this.builds.has(node.drvPath)) return;
    this.builds.set(node.drvPath, reason);
    this.wantInputs(node, 'build-input');
  }

  #visitPath(path: StorePath, reason: Reason): void {
    const { rules, paths: facts } = this.#inputs;
    if (rules.isPresent?.(path) === true) return;
    if (this.#sleepUntilKnown([path], () => this.#visitPath(path, reason))) return;
    const known = facts.get(path);
    if (known === undefined || !rules.offersPath(known)) {
      this.#addHole(path, { kind: 'path', reason });
      return;
    }
    this.paths.set(path, reason);
    const further: Reason = { kind: reason.kind, wantedBy: path };
    for (const reference of known.references) this.wantPath(reference, further);
  }

  /** The paths of the outputs that the derivation has of these; undefined where one is unknown before it is built. */
  #outputPaths(
    node: DerivationNode,
    names: readonly string[],
    again: () => void,
    mayAsk = true,
  ): readonly StorePath[] | undefined | 'asleep' {
    const { realisations } = this.#inputs;
    const outputs = node.outputs.filter(({ name }) => names.includes(name));
    if (node.outputs.every(({ path }) => path !== undefined)) return outputs.flatMap(({ path }) => path ?? []);
    if (realisations === undefined || !mayAsk) return undefined;
    const keys = outputs.map(({ name }) => `${node.drvPath}!${name}`);
    const unknown = keys.filter((key) => !realisations.has(key));
    if (unknown.length > 0) {
      this.#sleep(unknown, realisations, again);
      return 'asleep';
    }
    const paths: StorePath[] = [];
    for (const key of keys) {
      const path = realisations.get(key);
      if (path === undefined) return undefined;
      this.realised.set(key, path);
      paths.push(path);
    }
    return paths;
  }

  #isOffered(known: Known | undefined, node: DerivationNode): boolean {
    return known !== undefined && this.#inputs.rules.offersOutput(known, node);
  }

  #addHole(path: StorePath, hole: Hole): void {
    if (!this.holes.has(path)) this.holes.set(path, hole);
  }

  /** Whether something is still unknown; then `again` is called when the first of it is known. */
  #sleepUntilKnown(paths: readonly StorePath[], again: () => void): boolean {
    const { paths: facts } = this.#inputs;
    const unknown = paths.filter((path) => !facts.has(path));
    if (unknown.length === 0) return false;
    this.#sleep(unknown, facts, again);
    return true;
  }

  #sleep<Value>(keys: readonly string[], facts: Facts<Value>, again: () => void): void {
    const [first = '', ...others] = keys;
    this.#asleep += 1;
    facts.want(first, () => {
      this.#asleep -= 1;
      this.#queue.push(again);
    });
    for (const key of others) facts.want(key);
  }
}

const REQUESTS_PER_NODE = 2 ** 21;
