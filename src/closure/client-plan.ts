import { LIMITS } from '../base/limits.ts';
import type { OnProgress } from '../base/progress.ts';
import type { StorePath } from '../nix/store-path.ts';
import { type ChainOf, chainsOf, waysDown } from './chains.ts';
import { ClientWalk, type Reason } from './client-walk.ts';
import { type ClientWorld, splitOutputKey } from './decide.ts';
import type { DerivationGraph, NodeInput } from './derivation-graph.ts';
import { diagnose, type Lack } from './diagnosis.ts';
import { Facts } from './facts.ts';
import type { Target } from './scopes.ts';

/** What a mirror says of a path that it has. */
export interface OfferedPath {
  readonly references: readonly StorePath[];
  /** Whether clients take it: a key that they trust signed it, or its content address names it. */
  readonly signatureCounts: boolean;
}

export interface ClientPlanInputs {
  readonly graph: DerivationGraph;
  readonly targets: readonly Target[];
  /** Paths that the client asks for themselves, beside what is built. */
  readonly paths?: readonly StorePath[] | undefined;
  /** Undefined for a path that the mirror does not have. Asked once for each path. */
  readonly find: (path: StorePath) => Promise<OfferedPath | undefined>;
  /** What an output of a floating derivation turned out to be, as the mirror says. Without it, the client builds such derivations. */
  readonly realisation?: ((drvPath: StorePath, outputName: string) => Promise<StorePath | undefined>) | undefined;
  /** What the client's store has already; nothing unless given. `.drv` files are there in any case. */
  readonly isPresent?: ((path: StorePath) => boolean) | undefined;
  /** What the mirror should have: where such a path is missing, it is what is named. */
  readonly isExpected?: ((path: StorePath) => boolean) | undefined;
  /** As the client's setting of this name; off unless given. */
  readonly alwaysAllowSubstitutes?: boolean | undefined;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** All lists are sorted, except `missing`, which begins with what is nearest to the root. */
export interface ClientPlan {
  /** The derivations that Nix would build, those among them that it could not, as it knows nothing of what fetchers can do. */
  readonly builds: readonly StorePath[];
  /** The paths that Nix would fetch from the mirror. */
  readonly fetches: readonly StorePath[];
  /** What Nix would know no way to get. */
  readonly unknown: readonly StorePath[];
  /** What must be brought so that everything can be had: empty where the mirror suffices. */
  readonly missing: readonly MissingFromMirror[];
  /** What the mirror has, but no client takes. */
  readonly unsigned: readonly StorePath[];
  /** Who wants an output that the mirror does not have, or a path; undefined where nobody does. */
  chainOf(path: StorePath): readonly StorePath[] | undefined;
}

export interface MissingFromMirror extends Lack {
  /** Whether the mirror has it, and no client takes it. */
  readonly isUnsigned: boolean;
}

/**
 * What Nix does with a mirror as its only substituter and an empty store (but for the `.drv` files), without a network.
 * Throws what `find` throws.
 */
export async function planClient(inputs: ClientPlanInputs): Promise<ClientPlan> {
  const { graph } = inputs;
  const unsigned = new Set<StorePath>();
  const world = openWorld(inputs, unsigned);
  const targets = inputs.targets.map(({ drvPath, outputs }): NodeInput => {
    const input = graph.find(drvPath);
    if (input === undefined) throw new Error(`the graph was loaded without ${drvPath}`);
    return { input, outputNamesId: graph.outputNames.idOf(outputs) };
  });
  const start = async (): Promise<Walk> => {
    const walk: Walk = new ClientWalk(world, { fixedOutputs: 'build' });
    for (const path of inputs.paths ?? []) walk.wantPath(path, ASKED_FOR.path);
    for (const { input, outputNamesId } of targets) {
      walk.wantOutputs(input, graph.outputNames.namesOf(outputNamesId), ASKED_FOR.build);
    }
    await walk.settle();
    return walk;
  };
  // The first walk takes answers as they come; the second finds them all, and takes the shortest ways.
  await start();
  const walk = await start();
  const roots = targets.map(({ input }) => input);
  const lacks = diagnose({ world, walk, targets, expected: inputs.isExpected });
  return {
    builds: [...walk.builds.keys()].toSorted(),
    fetches: [...walk.paths.keys()].toSorted(),
    unknown: [...walk.holes.keys()].toSorted(),
    missing: lacks.map((lack) => withSignature(lack, unsigned)),
    unsigned: [...unsigned].toSorted(),
    chainOf: explainer(walk, chainsOf(walk, waysDown(graph, roots))),
  };
}

type Walk = ClientWalk<OfferedPath>;

function openWorld(inputs: ClientPlanInputs, unsigned: Set<StorePath>): ClientWorld<OfferedPath> {
  const { graph, find, realisation, isPresent, alwaysAllowSubstitutes, onProgress, signal } = inputs;
  const limit = LIMITS.narInfoRequestsInFlight;
  const ask = async (path: string): Promise<OfferedPath | undefined> => {
    const known = await find(path as StorePath);
    onProgress?.({ type: 'advance', items: 1 });
    if (known === undefined) return undefined;
    if (!known.signatureCounts) unsigned.add(path as StorePath);
    return { ...known, references: known.references.map((reference) => graph.texts.share(reference)) };
  };
  const askOutput = (key: string): Promise<StorePath | undefined> => {
    const { drvPath, outputName } = splitOutputKey(key);
    return realisation?.(drvPath, outputName) ?? Promise.resolve(undefined);
  };
  return {
    graph,
    rules: {
      isPresent: isPresent === undefined ? undefined : remembered(isPresent),
      offersOutput: ({ signatureCounts }) => signatureCounts,
      offersPath: ({ signatureCounts }) => signatureCounts,
      alwaysAllowSubstitutes,
    },
    paths: new Facts(ask, limit, signal),
    realisations: realisation === undefined ? undefined : new Facts(askOutput, limit, signal),
  };
}

/** Asked for often, and perhaps of a file system. */
function remembered(isPresent: (path: StorePath) => boolean): (path: StorePath) => boolean {
  const known = new Map<StorePath, boolean>();
  return (path) => {
    let answer = known.get(path);
    if (answer === undefined) {
      answer = isPresent(path);
      known.set(path, answer);
    }
    return answer;
  };
}

function explainer(walk: Walk, chainOf: ChainOf): ClientPlan['chainOf'] {
  return (path) => {
    const reason = walk.holes.get(path)?.reason ?? walk.absentOutputs.get(path) ?? walk.paths.get(path);
    return reason === undefined ? undefined : chainOf(reason);
  };
}

function withSignature(lack: Lack, unsigned: ReadonlySet<StorePath>): MissingFromMirror {
  return { ...lack, isUnsigned: unsigned.has(lack.path) };
}

const ASKED_FOR = {
  path: { kind: 'runtime', wantedBy: undefined },
  build: { kind: 'build-input', wantedBy: undefined },
} as const satisfies Record<string, Reason>;
