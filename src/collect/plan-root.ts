import { LIMITS } from '../base/limits.ts';
import type { OnProgress } from '../base/progress.ts';
import { shortestWays } from '../closure/chains.ts';
import { type DerivationGraph, loadDerivationGraph } from '../closure/derivation-graph.ts';
import { computeScopes, type MissingPath, type Reason, type ScopeClosure } from '../closure/scopes.ts';
import { SCOPES, type Scope } from '../mirror/roots.ts';
import type { StorePath } from '../nix/index.ts';
import { crawl } from './crawl.ts';
import type { KnownSources } from './known-sources.ts';
import type { FoundPath, PathFinder } from './path-finder.ts';
import type { CollectProblem } from './plan.ts';
import type { ResolvedRoot } from './resolve-roots.ts';

/** What a root carries at one scope, and where each path is to be had. */
export interface PlannedScope {
  /** What stands for the root: its outputs as far as they are carried, else its `.drv` files. */
  readonly rootPaths: readonly StorePath[];
  readonly paths: ReadonlyMap<StorePath, PlannedMember>;
  readonly problems: readonly CollectProblem[];
  /** Derivations that a client has to build itself. */
  readonly builds: readonly StorePath[];
}

export interface PlannedMember {
  readonly found: FoundPath;
  /** Why it is carried. */
  readonly reason: Reason;
  /** Of a source that no cache has: derivations from the root down to what wants it. */
  readonly chain?: readonly StorePath[];
}

export interface PlannedRoot {
  readonly root: ResolvedRoot;
  /** What will be carried: one of `scopes`. */
  readonly carried: PlannedScope;
  /** The scopes that were worked out, the one of the root among them. */
  readonly scopes: ReadonlyMap<Scope, PlannedScope>;
}

/** What is left out on request. */
export interface CarryOptions {
  /** The `.drv` closure. Default true. */
  readonly withDerivations?: boolean;
  /** At scope `rebuild`: only fixed outputs, not what each carried package is built from. Default false. */
  readonly sourcesOnly?: boolean;
}

/** The bytes of a `.drv` file of this machine; undefined where there is none. */
export type ReadDerivation = (drvPath: StorePath) => Promise<Buffer | undefined>;

export interface PlanRootInputs {
  readonly root: ResolvedRoot;
  readonly finder: PathFinder;
  readonly sources: KnownSources;
  /** Scopes to work out beside the root's own. */
  readonly compare: readonly Scope[];
  readonly carries: CarryOptions;
  readonly readDerivation: ReadDerivation;
  readonly storeDir: string;
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
}

/** Works out what one root needs; a root without derivations has one scope, `run`. */
export async function planRoot(inputs: PlanRootInputs): Promise<PlannedRoot> {
  const { root, compare } = inputs;
  const wanted = SCOPES.filter((scope) => scope === root.scope || compare.includes(scope));
  const scopes =
    root.targets.length === 0
      ? new Map<Scope, PlannedScope>([[root.scope, await planPaths(inputs)]])
      : await planTargets(inputs, wanted);
  const carried = scopes.get(root.scope);
  if (carried === undefined) throw new Error(`scope ${root.scope} was not worked out`);
  return { root, carried, scopes };
}

/** The closure of the paths, as their narinfos tell. */
async function planPaths({ root, finder, sources }: PlanRootInputs): Promise<PlannedScope> {
  for (const drvPath of root.derivations ?? []) await sources.learnFrom(drvPath);
  for (const source of root.sources ?? []) sources.add(source);
  const kind = root.sources === undefined ? 'runtime' : 'fixed-output';
  const paths = new Map<StorePath, PlannedMember>();
  const problems: CollectProblem[] = [];
  const wantedBy = new Map<StorePath, StorePath>();
  await crawl(root.paths, LIMITS.narInfoRequestsInFlight, async (path) => {
    const found = await finder.find(path);
    if (found === undefined) {
      const problem = explain(finder, path, root.fromDerivation && root.paths.includes(path));
      problems.push({ ...problem, wantedBy: wantedBy.get(path) });
      return [];
    }
    paths.set(path, { found, reason: { kind, wantedBy: wantedBy.get(path) } });
    for (const reference of found.references) {
      if (reference !== path && !wantedBy.has(reference)) wantedBy.set(reference, path);
    }
    return found.references;
  });
  return { rootPaths: root.paths, paths, problems, builds: [] };
}

async function planTargets(
  inputs: PlanRootInputs,
  wanted: readonly Scope[],
): Promise<ReadonlyMap<Scope, PlannedScope>> {
  const { root, finder, sources, carries, readDerivation, storeDir, signal, onProgress } = inputs;
  onProgress({ type: 'phase', phase: 'read derivations' });
  const graph = await loadDerivationGraph({
    roots: root.targets.map(({ drvPath }) => drvPath),
    read: readDerivation,
    storeDir,
    signal,
  });
  sources.learn(graph);
  onProgress({ type: 'phase', phase: 'read narinfos' });
  const closures = await computeScopes({
    graph,
    targets: root.targets,
    paths: [],
    evaluationInputs: root.evaluationInputs.map(({ storePath }) => storePath),
    scopes: wanted,
    find: async (path) => {
      const found = await finder.find(path);
      return found && { references: found.references, substitutable: finder.isPublic(found) };
    },
    withDerivations: carries.withDerivations ?? true,
    sourcesOnly: carries.sourcesOnly ?? false,
    signal,
  });
  const scopes = new Map<Scope, PlannedScope>();
  for (const scope of wanted) scopes.set(scope, await planScope(closures[scope], graph, root, finder));
  return scopes;
}

async function planScope(
  { paths, built, missing }: ScopeClosure,
  graph: DerivationGraph,
  root: ResolvedRoot,
  finder: PathFinder,
): Promise<PlannedScope> {
  const members = new Map<StorePath, PlannedMember>();
  const chainOf = chainsFrom(graph, root);
  for (const [path, reason] of paths) {
    const found = await finder.find(path);
    if (found === undefined) throw new Error(`${path} was found and is gone`);
    members.set(path, { found, reason, ...(found.kind === 'source' ? { chain: chainOf(found.source.drvPath) } : {}) });
  }
  const problems = missing.map((hole): CollectProblem => ({ ...explainHole(hole, finder), chain: hole.chain }));
  return { rootPaths: rootPathsOf(root, graph, members), paths: members, problems, builds: [...built.keys()] };
}

/** Says by which derivations a derivation is wanted: the shortest way from the root to it, itself left out. */
function chainsFrom(graph: DerivationGraph, root: ResolvedRoot): (drvPath: StorePath) => readonly StorePath[] {
  let parents: ReadonlyMap<StorePath, StorePath> | undefined;
  return (drvPath) => {
    parents ??= shortestWays(
      graph,
      root.targets.flatMap((target) => graph.find(target.drvPath) ?? []),
    );
    const chain: StorePath[] = [];
    for (let path = parents.get(drvPath); path !== undefined; path = parents.get(path)) chain.push(path);
    return chain.toReversed();
  };
}

function rootPathsOf(
  root: ResolvedRoot,
  graph: DerivationGraph,
  carried: ReadonlyMap<StorePath, PlannedMember>,
): readonly StorePath[] {
  const own = root.targets.filter(({ variant }) => variant === undefined);
  const outputs = own.flatMap(({ drvPath, outputs: names }) =>
    (graph.find(drvPath)?.outputs ?? []).flatMap(({ name, path }) =>
      path !== undefined && names.includes(name) ? [path] : [],
    ),
  );
  const built = outputs.filter((path) => carried.has(path));
  return built.length > 0 ? built : own.map(({ drvPath }) => drvPath).filter((drvPath) => carried.has(drvPath));
}

function explainHole({ path, kind, derivation, chain }: MissingPath, finder: PathFinder): CollectProblem {
  const wantedBy = chain.at(-1);
  if (kind === 'derivation') {
    const detail = 'its outputs are not known before it is built, or the .drv file cannot be read';
    return { storePath: path, kind: 'not-built', detail, wantedBy };
  }
  const problem = finder.problemOf(path);
  if (kind === 'fixed-output' && (problem === undefined || problem.kind === 'absent')) {
    const detail = `no upstream has this source, and only the builder of ${derivation ?? 'its derivation'} knows where it comes from`;
    return { storePath: path, kind: 'no-source', detail, wantedBy };
  }
  return { ...explain(finder, path, chain.length === 0), wantedBy };
}

function explain(finder: PathFinder, path: StorePath, isOutput: boolean): Omit<CollectProblem, 'wantedBy'> {
  const problem = finder.problemOf(path) ?? { storePath: path, kind: 'absent', detail: 'nobody has it' };
  if (problem.kind !== 'absent' || !isOutput) return problem;
  return { ...problem, kind: 'not-built', detail: 'no upstream has it, and it is not built here yet' };
}
