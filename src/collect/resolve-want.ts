import { mapConcurrent } from '../base/concurrency.ts';
import { LIMITS } from '../base/limits.ts';
import type { OnProgress } from '../base/progress.ts';
import type { Miss, MissKind } from '../mirror/misses.ts';
import { isHashPart, type StorePath, type StorePathBaseName, storePathFromBaseName } from '../nix/index.ts';
import type { CollectPlan, NarInfoFinder } from './plan.ts';
import { type ResolvedRoot, repositoryName, type WantedRepository } from './resolve-roots.ts';
import type { ChosenRepositories } from './wanted-repositories.ts';

export interface Wants {
  readonly site: string;
  /** Of the list: each is a root of its own. */
  readonly digest: string;
  readonly misses: readonly Miss[];
  /** `.drv` files that could not be built. */
  readonly targets: readonly StorePathBaseName[];
  /** All `.drv` files that came along. */
  readonly derivations: readonly StorePathBaseName[];
}

export interface ResolveWantInputs {
  readonly storeDir: string;
  readonly upstreams: NarInfoFinder;
  outputNames(drvPath: StorePath): Promise<readonly string[]>;
  plan(roots: readonly ResolvedRoot[]): Promise<CollectPlan>;
  chooseRepositories(misses: readonly Miss[]): Promise<ChosenRepositories>;
  readonly onProgress: OnProgress;
  readonly signal: AbortSignal;
}

export interface ResolvedWant {
  /** Undefined where nothing of what is wanted can be had. */
  readonly root: ResolvedRoot | undefined;
  /** Each repository is a root of its own, the same as if it were named. */
  readonly repositories: readonly ResolvedRoot[];
  /** What no upstream has: as a rule what clients build themselves, and asked for before they did. */
  readonly unknown: readonly Miss[];
  /** What a person must name as a root, since it is a matter of what is to be carried: channels, flakes, sources, repositories that are not public. */
  readonly toName: readonly Miss[];
  /** Of the derivations: what can be had from nowhere. */
  readonly missing: readonly { readonly storePath: StorePath; readonly detail: string }[];
}

/**
 * Turns what a site wants into a root: paths by the digits that clients asked for, as far as an upstream has them; and for each derivation what building it
 * takes, as at scope `reconfigure`. A path that nobody has keeps nothing else back: the site knows its own sources itself.
 */
export async function resolveWant(wants: Wants, inputs: ResolveWantInputs): Promise<ResolvedWant> {
  const { storeDir, signal } = inputs;
  const unknown: Miss[] = [];
  const paths = new Set<StorePath>();
  const asked = wants.misses.filter(({ kind, name }) => kind === 'narinfo' && isHashPart(name));
  inputs.onProgress({ type: 'phase', phase: 'asking for what is wanted', totalItems: asked.length });
  await mapConcurrent(
    asked,
    LIMITS.narInfoRequestsInFlight,
    async (miss) => {
      const found = isHashPart(miss.name)
        ? await inputs.upstreams.find(miss.name, { signal, accept: () => true })
        : undefined;
      if (found === undefined) unknown.push(miss);
      else paths.add(found.info.storePath);
      inputs.onProgress({ type: 'advance', items: 1 });
    },
    signal,
  );
  const derivations = wants.derivations.map((name) => storePathFromBaseName(name, storeDir));
  const targets = await targetsOf(wants, inputs);
  const missing = targets.targets.length === 0 ? [] : await addPlanned(targets, paths, inputs);
  const chosen = await inputs.chooseRepositories(wants.misses);
  const toName = [...wants.misses.filter(({ kind }) => !isAnswered(kind)), ...chosen.toName];
  const repositories = chosen.wanted.map(rootOfRepository);
  if (paths.size === 0) return { root: undefined, repositories, unknown, toName, missing };
  const sorted = [...paths].toSorted();
  const root: ResolvedRoot = {
    request: `want:${wants.site}:${wants.digest}`,
    name: `want of ${wants.site}`,
    paths: sorted,
    fromDerivation: false,
    derivations,
    scope: 'run',
    targets: [],
    evaluationInputs: [],
  };
  return { root, repositories, unknown, toName, missing };
}

function isAnswered(kind: MissKind): boolean {
  return kind === 'narinfo' || kind === 'repository';
}

function rootOfRepository(wanted: WantedRepository): ResolvedRoot {
  return {
    request: `git+${wanted.url}`,
    name: repositoryName(wanted),
    paths: [],
    fromDerivation: false,
    derivations: [],
    scope: 'run',
    targets: [],
    evaluationInputs: [],
    wantedRepositories: [wanted],
  };
}

async function targetsOf(wants: Wants, { storeDir, outputNames }: ResolveWantInputs): Promise<ResolvedRoot> {
  const targets = [];
  for (const name of wants.targets) {
    const drvPath = storePathFromBaseName(name, storeDir);
    targets.push({ drvPath, outputs: await outputNames(drvPath) });
  }
  const common = { paths: [], fromDerivation: true, derivations: [], evaluationInputs: [] };
  return {
    ...common,
    request: `want:${wants.site}:${wants.digest}`,
    name: `want of ${wants.site}`,
    scope: 'reconfigure',
    targets,
  };
}

/** What the plan finds is wanted, but for the `.drv` files themselves, which came from the site. */
async function addPlanned(
  root: ResolvedRoot,
  paths: Set<StorePath>,
  { plan }: ResolveWantInputs,
): Promise<ResolvedWant['missing']> {
  const { roots, problems } = await plan([root]);
  const holes = new Set(problems.map(({ storePath }) => storePath));
  const members = new Map(
    roots.flatMap(({ carried }) => [...carried.paths].map(([path, { found }]) => [path, found] as const)),
  );
  // A path can be carried when all below it can.
  const isWhole = new Map<StorePath, boolean>();
  const check = (path: StorePath): boolean => {
    const known = isWhole.get(path);
    if (known !== undefined) return known;
    isWhole.set(path, true);
    const references = members.get(path)?.references ?? [];
    const whole = !holes.has(path) && members.has(path) && references.every((one) => one === path || check(one));
    isWhole.set(path, whole);
    return whole;
  };
  for (const path of members.keys()) if (!path.endsWith('.drv') && check(path)) paths.add(path);
  return problems.map(({ storePath, detail }) => ({ storePath, detail }));
}
