import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { OnProgress } from '../base/progress.ts';
import { shortestWays } from '../closure/chains.ts';
import { type DerivationGraph, loadDerivationGraph } from '../closure/derivation-graph.ts';
import { type RealisationKeysOf, realisationKeys } from '../closure/realisation-keys.ts';
import {
  computeScopes,
  type MissingPath,
  type RealisedOutput,
  type Reason,
  type ScopeClosure,
} from '../closure/scopes.ts';
import type { NamedRealisation } from '../mirror/publish-realisations.ts';
import { SCOPES, type Scope } from '../mirror/roots.ts';
import { type StorePath, storePathFromBaseName } from '../nix/index.ts';
import { crawl } from './crawl.ts';
import type { KnownSources } from './known-sources.ts';
import type { FoundPath, PathFinder } from './path-finder.ts';
import type { CollectProblem } from './plan.ts';
import type { RealisationFinder } from './realisation-finder.ts';
import type { ResolvedRoot } from './resolve-roots.ts';

/** What a root carries at one scope, and where each path is to be had. */
export interface PlannedScope {
  /** What stands for the root: its outputs as far as they are carried, else its `.drv` files. */
  readonly rootPaths: readonly StorePath[];
  readonly paths: ReadonlyMap<StorePath, PlannedMember>;
  readonly problems: readonly CollectProblem[];
  /** Derivations that a client has to build itself. */
  readonly builds: readonly StorePath[];
  /** By these clients find outputs of floating derivations, so that they need not build them. */
  readonly realisations: readonly NamedRealisation[];
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
  readonly realisations: RealisationFinder;
  readonly sources: KnownSources;
  /** Scopes to work out beside the root's own. */
  readonly compare: readonly Scope[];
  readonly carries: CarryOptions;
  readonly readDerivation: ReadDerivation;
  readonly storeDir: string;
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
}

/**
 * Works out what one root needs; a root without derivations has one scope, `run`.
 * @throws NixferryError `bad-root` for a root at `run` whose path is decided only by building it, when no cache knows it.
 */
export async function planRoot(inputs: PlanRootInputs): Promise<PlannedRoot> {
  const { root, compare } = inputs;
  // A root that is only run was evaluated without what the wider scopes carry.
  const isCompared = (scope: Scope) => root.scope !== 'run' && compare.includes(scope);
  const wanted = SCOPES.filter((scope) => scope === root.scope || isCompared(scope));
  const scopes =
    root.targets.length === 0
      ? new Map<Scope, PlannedScope>([[root.scope, await planPaths(inputs)]])
      : await planTargets(inputs, wanted);
  const carried = scopes.get(root.scope);
  if (carried === undefined) throw new Error(`scope ${root.scope} was not worked out`);
  return { root, carried, scopes };
}

/** The other way for an output that nobody has. */
const LET_CLIENTS_BUILD = 'or carry what clients build it from: --scope reconfigure';

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
      const detail = problem.kind === 'not-built' ? `${problem.detail}; ${LET_CLIENTS_BUILD}` : problem.detail;
      problems.push({ ...problem, detail, wantedBy: wantedBy.get(path) });
      return [];
    }
    paths.set(path, { found, reason: { kind, wantedBy: wantedBy.get(path) } });
    for (const reference of found.references) {
      if (reference !== path && !wantedBy.has(reference)) wantedBy.set(reference, path);
    }
    return found.references;
  });
  return { rootPaths: root.paths, paths, problems, builds: [], realisations: [] };
}

async function planTargets(
  inputs: PlanRootInputs,
  wanted: readonly Scope[],
): Promise<ReadonlyMap<Scope, PlannedScope>> {
  const { root, finder, realisations, sources, carries, readDerivation, storeDir, signal, onProgress } = inputs;
  onProgress({ type: 'phase', phase: 'read derivations' });
  const graph = await loadDerivationGraph({
    roots: root.targets.map(({ drvPath }) => drvPath),
    read: readDerivation,
    storeDir,
    signal,
  });
  sources.learn(graph);
  const keysOf = realisationKeys({ graph, read: readDerivation, signal });
  onProgress({ type: 'phase', phase: 'read narinfos' });
  const closures = await computeScopes({
    graph,
    targets: root.targets,
    paths: [],
    evaluationInputs: [
      ...root.evaluationInputs.map(({ storePath }) => storePath),
      ...(root.repositories ?? []).map(({ path }) => storePathFromBaseName(path, storeDir)),
    ],
    scopes: wanted,
    find: async (path) => {
      const found = await finder.find(path);
      if (found === undefined) return undefined;
      // What a realisation of a cache leads to is to be had from there; content-addressed, it may bear no signature.
      return { references: found.references, substitutable: finder.isPublic(found) || realisations.isRealised(path) };
    },
    realisation: async (drvPath, outputName) => realisations.find(await keysOf(drvPath, outputName)),
    withDerivations: carries.withDerivations ?? true,
    sourcesOnly: carries.sourcesOnly ?? false,
    signal,
  });
  const scopes = new Map<Scope, PlannedScope>();
  for (const scope of wanted) {
    if (scope === 'run') refuseUnknown(closures[scope], graph, root);
    scopes.set(scope, await planScope(closures[scope], graph, keysOf, inputs));
  }
  return scopes;
}

/** What cannot even be named cannot be carried to be run. */
function refuseUnknown({ missing }: ScopeClosure, graph: DerivationGraph, { scope }: ResolvedRoot): void {
  if (scope !== 'run') return;
  const unknown = missing.find(({ path, kind, chain }) => {
    return kind === 'derivation' && chain.length === 0 && graph.find(path)?.problem === undefined;
  });
  if (unknown === undefined) return;
  throw new NixferryError(
    'bad-root',
    `what ${unknown.path} gives is known only once it is built, and no cache says what it was`,
    { hint: 'build it with `nix build`, then name the store path that came out' },
  );
}

async function planScope(
  closure: ScopeClosure,
  graph: DerivationGraph,
  keysOf: RealisationKeysOf,
  { root, finder, realisations }: PlanRootInputs,
): Promise<PlannedScope> {
  const { paths, built, missing, realised } = closure;
  const members = new Map<StorePath, PlannedMember>();
  const chainOf = chainsFrom(graph, root);
  for (const [path, reason] of paths) {
    const found = await finder.find(path);
    if (found === undefined) throw new Error(`${path} was found and is gone`);
    members.set(path, { found, reason, ...(found.kind === 'source' ? { chain: chainOf(found.source.drvPath) } : {}) });
  }
  const problems = missing.map((hole) => Object.assign(explainHole(hole, finder), { chain: hole.chain }));
  const found = new Map<string, NamedRealisation>();
  for (const { drvPath, outputName, path } of realised) {
    const files = await realisations.filesFor(await keysOf(drvPath, outputName), path);
    for (const file of files) found.set(file.name, file);
  }
  return {
    rootPaths: rootPathsOf(root, graph, members, realised),
    paths: members,
    problems,
    builds: [...built.keys()],
    realisations: [...found.values()],
  };
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
  realised: readonly RealisedOutput[],
): readonly StorePath[] {
  const known = new Map(realised.map(({ drvPath, outputName, path }) => [`${drvPath}!${outputName}`, path]));
  const own = root.targets.filter(({ variant }) => variant === undefined);
  const outputs = own.flatMap(({ drvPath, outputs: names }) =>
    (graph.find(drvPath)?.outputs ?? [])
      .filter(({ name }) => names.includes(name))
      .flatMap(({ name, path }) => path ?? known.get(`${drvPath}!${name}`) ?? []),
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
