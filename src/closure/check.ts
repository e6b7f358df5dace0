import { LIMITS } from '../base/limits.ts';
import { ignoreProgress, type OnProgress } from '../base/progress.ts';
import type { Mirror } from '../mirror/mirror.ts';
import type { Scope } from '../mirror/roots.ts';
import { NixFormatError } from '../nix/format-error.ts';
import { formatRealisationPath, parseRealisation } from '../nix/realisation.ts';
import type { PublicKey } from '../nix/signature.ts';
import { type StorePath, storePathFromBaseName } from '../nix/store-path.ts';
import { waysDown } from './chains.ts';
import type { CheckedMissing, CheckResult, TargetCheck } from './check-result.ts';
import { type ClientPlan, planClient } from './client-plan.ts';
import {
  type DerivationGraph,
  type DerivationNode,
  loadDerivationGraph,
  type ReadDerivation,
} from './derivation-graph.ts';
import { MirrorPaths } from './mirror-paths.ts';
import { type RealisationKeysOf, realisationKeys } from './realisation-keys.ts';
import type { Target } from './scopes.ts';

/** What is to be checked: a root as the mirror records it, or something like one. */
export interface CheckRequest {
  readonly scope: Scope;
  /** What Nix would be asked to build. An empty list of outputs stands for all that the derivation has. */
  readonly targets: readonly Target[];
  /** Asked for themselves. */
  readonly paths: readonly StorePath[];
  readonly evaluationInputs: readonly StorePath[];
  /** All that the mirror should have for it. */
  readonly recorded: readonly StorePath[];
}

export interface CheckInputs {
  readonly mirror: Mirror;
  /** Reads `.drv` files of the mirror. */
  readonly read: ReadDerivation;
  /** The store of this machine, where it has one. */
  readonly localStore?: LocalFiles | undefined;
  /** What clients trust. */
  readonly keys: readonly PublicKey[];
  /** As the clients' setting of this name; off unless given. */
  readonly alwaysAllowSubstitutes?: boolean | undefined;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Files of a store, as they lie there. A `.drv` file that the mirror lacks is looked for here, and what is here of its sources counts as there, too. */
export interface LocalFiles {
  readonly read: ReadDerivation;
  readonly has: (path: StorePath) => boolean;
}

/**
 * Says from the mirror's files alone whether clients of it can have a root: evaluate it, build what must be built, fetch the rest, each path
 * with a signature that counts. Several roots share what was read.
 */
export function createChecker(inputs: CheckInputs): (request: CheckRequest) => Promise<CheckResult> {
  const paths = new MirrorPaths(inputs.mirror, inputs.keys);
  return (request) => new Check(inputs, paths, request).run();
}

class Check {
  readonly #inputs: CheckInputs;
  readonly #paths: MirrorPaths;
  readonly #request: CheckRequest;
  readonly #recorded: ReadonlySet<StorePath>;
  readonly #missing = new Map<StorePath, CheckedMissing>();
  readonly #unsigned = new Set<StorePath>();
  readonly #unknowable = new Set<StorePath>();
  /** Derivations that were read from the local store, and what is there of their sources. */
  readonly #localDerivations = new Set<StorePath>();
  readonly #localSources = new Set<StorePath>();

  constructor(inputs: CheckInputs, paths: MirrorPaths, request: CheckRequest) {
    this.#inputs = inputs;
    this.#paths = paths;
    this.#request = request;
    this.#recorded = new Set(request.recorded);
  }

  async run(): Promise<CheckResult> {
    const { scope, evaluationInputs, targets } = this.#request;
    const { onProgress = ignoreProgress } = this.#inputs;
    const graph = scope === 'run' || targets.length === 0 ? undefined : await this.#loadGraph();
    onProgress({ type: 'phase', phase: 'read narinfos' });
    const asked = [...this.#request.paths, ...(scope === 'run' ? [] : evaluationInputs)];
    const installing = await this.#plan(await emptyGraph(this.#inputs.mirror.storeDir), [], asked);
    await this.#note(installing, undefined);
    const checked: TargetCheck[] = [];
    const plans: ClientPlan[] = [];
    const keysOf =
      graph === undefined
        ? undefined
        : realisationKeys({ graph, read: (path) => this.#read(path), signal: this.#inputs.signal });
    for (const target of graph === undefined ? [] : targets) {
      const complete = withAllOutputs(target, graph?.find(target.drvPath));
      const plan = await this.#plan(graph as DerivationGraph, [complete], [], keysOf);
      plans.push(plan);
      await this.#note(plan, target);
      checked.push(await this.#describe(complete, plan, graph as DerivationGraph));
    }
    if (graph !== undefined && scope === 'rebuild') await this.#checkSources(graph);
    await this.#checkRecorded([installing, ...plans]);
    return {
      judged: graph === undefined ? (scope === 'run' || targets.length === 0 ? 'paths' : 'paths-only') : 'derivations',
      asked: { paths: installing.fetches.length, fetchBytes: await this.#fetchBytes(installing) },
      targets: checked,
      missing: [...this.#missing.values()],
      unsigned: [...this.#unsigned].toSorted(),
      unknowable: [...this.#unknowable].toSorted(),
    };
  }

  /** Undefined where the derivations were not carried. */
  async #loadGraph(): Promise<DerivationGraph | undefined> {
    const { mirror, signal, onProgress = ignoreProgress } = this.#inputs;
    const { targets } = this.#request;
    onProgress({ type: 'phase', phase: 'read derivations' });
    const graph = await loadDerivationGraph({
      roots: targets.map(({ drvPath }) => drvPath),
      read: (drvPath) => {
        onProgress({ type: 'advance', items: 1 });
        return this.#read(drvPath);
      },
      storeDir: mirror.storeDir,
      signal,
    });
    this.#findLocalSources(graph);
    const isLeftOut = targets.every(({ drvPath }) => {
      return graph.find(drvPath)?.problem?.kind === 'absent' && !this.#recorded.has(drvPath);
    });
    return isLeftOut && this.#recorded.size > 0 ? undefined : graph;
  }

  async #read(drvPath: StorePath): Promise<Buffer | undefined> {
    const { read, localStore } = this.#inputs;
    const carried = await read(drvPath);
    if (carried !== undefined || localStore === undefined) return carried;
    const own = await localStore.read(drvPath);
    if (own !== undefined) this.#localDerivations.add(drvPath);
    return own;
  }

  /** Whoever evaluated a derivation has its sources in the same store. */
  #findLocalSources(graph: DerivationGraph): void {
    const { localStore } = this.#inputs;
    if (localStore === undefined) return;
    for (const { drvPath, sources } of graph.nodes) {
      if (!this.#localDerivations.has(drvPath)) continue;
      for (const source of sources) if (localStore.has(source)) this.#localSources.add(source);
    }
  }

  #plan(
    graph: DerivationGraph,
    targets: readonly Target[],
    paths: readonly StorePath[],
    keysOf?: RealisationKeysOf,
  ): Promise<ClientPlan> {
    const { alwaysAllowSubstitutes, onProgress, signal } = this.#inputs;
    return planClient({
      graph,
      targets,
      paths,
      find: (path) => this.#paths.find(path),
      realisation: keysOf === undefined ? undefined : (drvPath, name) => this.#realisation(keysOf, drvPath, name),
      isPresent: (path) => this.#localSources.has(path),
      isExpected: (path) => this.#recorded.has(path),
      alwaysAllowSubstitutes,
      onProgress,
      signal,
    });
  }

  async #realisation(
    keysOf: RealisationKeysOf,
    drvPath: StorePath,
    outputName: string,
  ): Promise<StorePath | undefined> {
    const { storage, storeDir } = this.#inputs.mirror;
    for (const key of await keysOf(drvPath, outputName)) {
      const bytes = await storage.read(formatRealisationPath(key));
      if (bytes === undefined || bytes.length > LIMITS.realisationBytes) continue;
      try {
        return storePathFromBaseName(parseRealisation(bytes, key).outPath, storeDir);
      } catch (error) {
        // To a client, a broken file is as good as none.
        if (!(error instanceof NixFormatError)) throw error;
      }
    }
    return undefined;
  }

  async #note(plan: ClientPlan, target: Target | undefined): Promise<void> {
    for (const path of plan.unsigned) this.#unsigned.add(path);
    for (const missing of plan.missing) await this.#add(missing, target?.variant);
  }

  async #add(missing: Omit<CheckedMissing, 'isWithheld' | 'damage' | 'wantedFor'>, variant: string | undefined) {
    const { path, kind, isUnsigned } = missing;
    const known = this.#missing.get(path);
    if (known !== undefined) {
      if (!known.wantedFor.includes(variant)) {
        this.#missing.set(path, { ...known, wantedFor: [...known.wantedFor, variant] });
      }
      return;
    }
    const isWithheld = kind === 'fixed-output' && !isUnsigned && (await this.#paths.find(path)) !== undefined;
    const damage = this.#paths.damageOf(path);
    this.#missing.set(path, { ...missing, isWithheld, damage, wantedFor: [variant] });
  }

  async #describe(target: Target, plan: ClientPlan, graph: DerivationGraph): Promise<TargetCheck> {
    const systems = new Set<string>();
    for (const drvPath of plan.builds) {
      const node = graph.find(drvPath);
      if (node === undefined) continue;
      if (node.system !== 'builtin') systems.add(node.system);
      if (node.hasDynamicInputs || node.kind === 'impure') this.#unknowable.add(drvPath);
    }
    return {
      target,
      builds: plan.builds,
      fetches: plan.fetches,
      fetchBytes: await this.#fetchBytes(plan),
      missing: plan.missing.length,
      systems: [...systems].toSorted(),
    };
  }

  async #fetchBytes({ fetches }: ClientPlan): Promise<number> {
    let bytes = 0;
    for (const path of fetches) bytes += (await this.#paths.find(path))?.fileSizeBytes ?? 0;
    return bytes;
  }

  /** At `rebuild`, all fixed outputs of the graph belong to the root, whoever builds what. */
  async #checkSources(graph: DerivationGraph): Promise<void> {
    const targets = this.#request.targets.flatMap(({ drvPath }) => graph.find(drvPath) ?? []);
    const ways = waysDown(graph, targets);
    for (const node of graph.nodes) {
      if (node.kind !== 'fixed') continue;
      for (const { path } of node.outputs) {
        if (path === undefined) continue;
        const known = await this.#paths.find(path);
        if (known?.signatureCounts === true) continue;
        const chain: StorePath[] = [];
        for (let above = ways().get(node.drvPath); above !== undefined; above = ways().get(above)) chain.push(above);
        const isUnsigned = known !== undefined;
        const lack = {
          path,
          kind: 'fixed-output',
          derivation: node.drvPath,
          chain: chain.toReversed(),
          lacks: [],
        } as const;
        await this.#add({ ...lack, isUnsigned }, this.#variantOf(chain.at(-1)));
      }
    }
  }

  async #checkRecorded(plans: readonly ClientPlan[]): Promise<void> {
    for (const path of this.#request.recorded) {
      const known = await this.#paths.find(path);
      if (known?.signatureCounts === true || this.#missing.has(path)) continue;
      if (known !== undefined) this.#unsigned.add(path);
      const chain = plans.map((plan) => plan.chainOf(path)).find((found) => found !== undefined) ?? [];
      const lack = { path, kind: 'recorded', derivation: undefined, chain, lacks: [] } as const;
      await this.#add({ ...lack, isUnsigned: known !== undefined }, this.#variantOf(chain[0]));
    }
  }

  #variantOf(drvPath: StorePath | undefined): string | undefined {
    return this.#request.targets.find((target) => target.drvPath === drvPath)?.variant;
  }
}

function emptyGraph(storeDir: string): Promise<DerivationGraph> {
  return loadDerivationGraph({ roots: [], read: () => Promise.resolve(undefined), storeDir });
}

function withAllOutputs(target: Target, node: DerivationNode | undefined): Target {
  if (target.outputs.length > 0) return target;
  return { ...target, outputs: node?.outputs.map(({ name }) => name) ?? [] };
}
