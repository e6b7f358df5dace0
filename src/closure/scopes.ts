import { LIMITS } from '../base/limits.ts';
import type { OnProgress } from '../base/progress.ts';
import type { Scope } from '../mirror/roots.ts';
import type { StorePath } from '../nix/store-path.ts';
import { chainsOf, type WaysDown, waysDown } from './chains.ts';
import { ClientWalk, type Hole, type Reason } from './client-walk.ts';
import { type ClientRules, outputKey, splitOutputKey } from './decide.ts';
import type { DerivationGraph, DerivationNode } from './derivation-graph.ts';
import { Facts } from './facts.ts';

export type { Reason, ReasonKind } from './client-walk.ts';

/** What is known of a path that can be had. */
export interface KnownPath {
  readonly references: readonly StorePath[];
  /** Whether a public cache has it; false where it exists only because it was built here. */
  readonly substitutable: boolean;
}

/** What Nix is asked to build: the root itself, or a variant of it. */
export interface Target {
  readonly drvPath: StorePath;
  readonly outputs: readonly string[];
  readonly variant?: string | undefined;
}

export interface ScopeInputs<Asked extends Scope = Scope> {
  /** With everything that the targets are built from. */
  readonly graph: DerivationGraph;
  readonly targets: readonly Target[];
  /** Roots that were given as paths: they are carried with what they refer to. */
  readonly paths: readonly StorePath[];
  readonly evaluationInputs: readonly StorePath[];
  /** Undefined for a path that cannot be had. Asked once for each path, hundreds at a time. */
  readonly find: (path: StorePath) => Promise<KnownPath | undefined>;
  /** What an output of a floating derivation turned out to be, where a public cache says so. Without it, clients build such derivations. */
  readonly realisation?: ((drvPath: StorePath, outputName: string) => Promise<StorePath | undefined>) | undefined;
  /** Whether the `.drv` files are carried, too. */
  readonly withDerivations: boolean;
  /** At `rebuild`: leave out what carried packages were built from. */
  readonly sourcesOnly: boolean;
  /** All three unless given. */
  readonly scopes?: readonly Asked[] | undefined;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface ScopeClosure {
  /** What is carried, and why first. */
  readonly paths: ReadonlyMap<StorePath, Reason>;
  /** The derivations that a client must build by itself, and for whom first. Empty at `run`. */
  readonly built: ReadonlyMap<StorePath, Reason>;
  readonly missing: readonly MissingPath[];
  /** Outputs of floating derivations that are carried: clients find them by these. */
  readonly realised: readonly RealisedOutput[];
}

export interface MissingPath {
  readonly path: StorePath;
  /**
   * `path`: a path that can be had from nowhere. `derivation`: a `.drv` file that cannot be read, or whose output has no path before it is built.
   * `fixed-output`: a source that no cache has, so that it would have to be fetched from where it came from.
   */
  readonly kind: Hole['kind'];
  /** What would make it: of a fixed output. */
  readonly derivation: StorePath | undefined;
  /** Who wants it: first the root, last the one that wants it directly. Empty for a root. */
  readonly chain: readonly StorePath[];
}

export interface RealisedOutput {
  readonly drvPath: StorePath;
  readonly outputName: string;
  readonly path: StorePath;
}

/**
 * The paths that each scope carries: `run` what the outputs of the roots refer to; `reconfigure` besides what a client needs to evaluate the
 * roots and variants and to build what no public cache has of them; `rebuild` besides all sources, and what carried packages are built from.
 * Each scope holds the one before. All come from one crawl.
 * Throws what `find` throws.
 */
export async function computeScopes<Asked extends Scope = Scope>(
  inputs: ScopeInputs<Asked>,
): Promise<Readonly<Record<Asked, ScopeClosure>>> {
  const { scopes } = inputs;
  const wanted: readonly Scope[] = scopes === undefined ? SCOPES : SCOPES.filter((scope) => contains(scopes, scope));
  const root = openRoot(inputs);
  const widest = wanted.at(-1);
  const closures: Partial<Record<Scope, ScopeClosure>> = {};
  // The first walk learns what is to be known, in the order in which answers come; those after it find all of it known, so that they are
  // quick, and the same every time.
  if (widest !== undefined) await walkTo(widest, root);
  if (wanted.includes('run')) closures.run = await walkTo('run', root);
  if (widest !== undefined && widest !== 'run') {
    const closure = await walkTo(widest, root, (reconfigure) => {
      if (wanted.includes('reconfigure')) closures.reconfigure = reconfigure();
    });
    closures[widest] = closure;
  }
  return closures as Record<Asked, ScopeClosure>;
}

type Walk = ClientWalk<KnownPath>;

/** Each holds the one before. */
const SCOPES: readonly Scope[] = ['run', 'reconfigure', 'rebuild'];

/** What all walks share. */
interface Root {
  readonly inputs: ScopeInputs;
  readonly targets: readonly TargetNode[];
  readonly waysDown: WaysDown;
  readonly paths: Facts<KnownPath>;
  readonly realisations: Facts<StorePath> | undefined;
}

interface TargetNode extends Target {
  readonly node: DerivationNode;
}

const RULES: ClientRules<KnownPath> = {
  offersOutput: (known, node) => known.substitutable || node.kind === 'fixed',
  offersPath: () => true,
};

function openRoot(inputs: ScopeInputs): Root {
  const { graph, find, realisation, onProgress, signal } = inputs;
  const targets = inputs.targets.map((target) => {
    const node = graph.find(target.drvPath);
    if (node === undefined) throw new Error(`the graph was loaded without ${target.drvPath}`);
    return Object.assign({ node }, target);
  });
  const ask = async (path: string): Promise<KnownPath | undefined> => {
    const known = await find(path as StorePath);
    onProgress?.({ type: 'advance', items: 1 });
    if (known === undefined) return undefined;
    return { ...known, references: known.references.map((reference) => graph.texts.share(reference)) };
  };
  const askOutput = async (key: string): Promise<StorePath | undefined> => {
    const { drvPath, outputName } = splitOutputKey(key);
    return realisation?.(drvPath, outputName);
  };
  const limit = LIMITS.narInfoRequestsInFlight;
  return {
    inputs,
    targets,
    waysDown: waysDown(
      graph,
      targets.map(({ node }) => node),
    ),
    paths: new Facts(ask, limit, signal),
    realisations: realisation === undefined ? undefined : new Facts(askOutput, limit, signal),
  };
}

/** @param onReconfigure may take what was reached at `reconfigure` on the way. */
async function walkTo(
  scope: Scope,
  root: Root,
  onReconfigure?: (closure: () => ScopeClosure) => void,
): Promise<ScopeClosure> {
  const { inputs, paths, realisations } = root;
  const world = { graph: inputs.graph, rules: RULES, paths, realisations };
  const walk: Walk = new ClientWalk(world, { fixedOutputs: 'give-up' });
  await wantRuntime(walk, root, scope !== 'run');
  if (scope !== 'run') {
    await wantReconfigure(walk, root);
    onReconfigure?.(() => closureOf(root, walk));
  }
  if (scope === 'rebuild') await wantRebuild(walk, root);
  return closureOf(root, walk);
}

/** Variants are there to be changed to, not to be run. */
async function wantRuntime(walk: Walk, { inputs, targets }: Root, mayBeAbsent: boolean): Promise<void> {
  for (const path of inputs.paths) walk.wantPath(path, ASKED_FOR.runtime);
  for (const { node, outputs, variant } of targets) {
    if (variant === undefined) walk.wantOutputPaths(node, outputs, ASKED_FOR.runtime, mayBeAbsent);
  }
  await walk.settle();
}

async function wantReconfigure(walk: Walk, root: Root): Promise<void> {
  const { graph, evaluationInputs, withDerivations } = root.inputs;
  for (const path of evaluationInputs) walk.wantPath(path, ASKED_FOR.evaluation);
  await walk.settle();
  for (const { node, outputs } of root.targets) walk.wantOutputs(node, outputs, ASKED_FOR.build);
  await walk.settle();
  if (!withDerivations) return;
  for (const node of graph.nodes) {
    walk.wantPath(node.drvPath, { kind: 'derivation', wantedBy: root.waysDown().get(node.drvPath) });
    for (const source of node.sources) walk.wantPath(source, { kind: 'derivation', wantedBy: node.drvPath });
  }
  await walk.settle();
}

async function wantRebuild(walk: Walk, root: Root): Promise<void> {
  const { graph, sourcesOnly } = root.inputs;
  const packages = sourcesOnly ? [] : carriedPackages(walk, graph);
  for (const node of graph.nodes) {
    if (node.kind !== 'fixed') continue;
    walk.wantFixedOutput(node, { kind: 'fixed-output', wantedBy: root.waysDown().get(node.drvPath) });
  }
  await walk.settle();
  for (const node of packages) walk.wantInputs(node, 'package-input');
  await walk.settle();
}

/** What has an output among the carried paths, and is neither a source nor built by the client anyway. */
function carriedPackages(walk: Walk, graph: DerivationGraph): readonly DerivationNode[] {
  return graph.nodes.filter((node) => {
    if (node.kind === 'fixed' || walk.builds.has(node.drvPath)) return false;
    return node.outputs.some(({ name, path }) => {
      const actual = path ?? walk.realised.get(outputKey(node.drvPath, name));
      return actual !== undefined && walk.paths.has(actual);
    });
  });
}

function closureOf(root: Root, walk: Walk): ScopeClosure {
  const chainOf = chainsOf(walk, root.waysDown);
  const missing = [...walk.holes].map(([path, { kind, reason, derivation }]) => ({
    path,
    kind,
    derivation,
    chain: chainOf(reason),
  }));
  const realised: RealisedOutput[] = [];
  for (const [key, path] of walk.realised) {
    const { drvPath, outputName } = splitOutputKey(key);
    if (walk.paths.has(path)) realised.push({ drvPath, outputName, path });
  }
  return {
    paths: new Map(walk.paths),
    built: new Map(walk.builds),
    missing,
    realised,
  };
}

function contains(scopes: readonly Scope[], scope: Scope): boolean {
  return scopes.includes(scope);
}

const ASKED_FOR = {
  runtime: { kind: 'runtime', wantedBy: undefined },
  evaluation: { kind: 'evaluation', wantedBy: undefined },
  build: { kind: 'build-input', wantedBy: undefined },
} as const satisfies Record<string, Reason>;
