import type { StorePath } from '../nix/store-path.ts';
import type { DerivationGraph, DerivationNode } from './derivation-graph.ts';
import type { Facts } from './facts.ts';

/** What is known of a path that somebody has. */
export interface PathFacts {
  readonly references: readonly StorePath[];
}

/** How it is judged what a client gets. */
export interface ClientRules<Known extends PathFacts> {
  /** Whether the client's store has the path already. */
  readonly isPresent?: ((path: StorePath) => boolean) | undefined;
  /** Whether a client that wants the output of this derivation gets it from a cache. */
  readonly offersOutput: (known: Known, node: DerivationNode) => boolean;
  /** Whether a client that wants the path itself gets it. */
  readonly offersPath: (known: Known) => boolean;
  /** As Nix's setting of this name. */
  readonly alwaysAllowSubstitutes?: boolean | undefined;
}

export interface ClientWorld<Known extends PathFacts> {
  readonly graph: DerivationGraph;
  readonly rules: ClientRules<Known>;
  readonly paths: Facts<Known>;
  /** The output of a floating derivation, by `outputKey`. Without it, such derivations are always built. */
  readonly realisations?: Facts<StorePath> | undefined;
}

/** What a client does that wants outputs of a derivation. */
export type Decision =
  /** It depends on what must be asked first. */
  | { readonly kind: 'open'; readonly facts: Pick<Facts<unknown>, 'want'>; readonly keys: readonly string[] }
  /** The derivation cannot be read. */
  | { readonly kind: 'unreadable' }
  | { readonly kind: 'nothing' }
  | { readonly kind: 'fetch'; readonly outputs: readonly StorePath[] }
  | {
      readonly kind: 'build';
      /** As far as their paths are known. */
      readonly outputs: readonly StorePath[];
      /** Those of them that no cache offers. */
      readonly absent: readonly StorePath[];
    };

/** By what a client decides: all wanted outputs come from a cache, or the derivation is built. (Nix: misc.cc, `Store::queryMissing`) */
export function decide<Known extends PathFacts>(
  world: ClientWorld<Known>,
  node: DerivationNode,
  outputNames: readonly string[],
): Decision {
  if (node.problem !== undefined) return { kind: 'unreadable' };
  const { rules, paths: facts } = world;
  const allowed = node.allowsSubstitutes || rules.alwaysAllowSubstitutes === true;
  const found = findOutputs(world, node, outputNames, allowed);
  if (found === 'unknown') return { kind: 'build', outputs: [], absent: [] };
  if (!isList(found)) return found;
  const outputs = found.filter((path) => rules.isPresent?.(path) !== true);
  if (outputs.length === 0) return { kind: 'nothing' };
  // Where substitution is off, only fixed outputs are worth looking for: they cannot be made without a network.
  if (!allowed && node.kind !== 'fixed') return { kind: 'build', outputs, absent: [] };
  const keys = outputs.filter((path) => !facts.has(path));
  if (keys.length > 0) return { kind: 'open', facts, keys };
  const absent = outputs.filter((path) => {
    const known = facts.get(path);
    return known === undefined || !rules.offersOutput(known, node);
  });
  return allowed && absent.length === 0 ? { kind: 'fetch', outputs } : { kind: 'build', outputs, absent };
}

/**
 * The paths of those outputs that the derivation has. Of floating ones they are `unknown` where one of them is said by nobody, or nobody is asked;
 * an output of a name that it does not have is passed over, as Nix does.
 */
export function findOutputs<Known extends PathFacts>(
  { realisations }: ClientWorld<Known>,
  node: DerivationNode,
  outputNames: readonly string[],
  mayAsk: boolean,
): readonly StorePath[] | 'unknown' | Extract<Decision, { kind: 'open' }> {
  const wanted = node.outputs.filter(({ name }) => outputNames.includes(name));
  if (node.outputs.every(({ path }) => path !== undefined)) return wanted.flatMap(({ path }) => path ?? []);
  if (realisations === undefined || !mayAsk) return 'unknown';
  const keys = wanted.map(({ name }) => outputKey(node.drvPath, name));
  const open = keys.filter((key) => !realisations.has(key));
  if (open.length > 0) return { kind: 'open', facts: realisations, keys: open };
  const paths = keys.map((key) => realisations.get(key));
  return paths.every((path) => path !== undefined) ? paths : 'unknown';
}

/** `DRV!OUTPUT` */
export function outputKey(drvPath: StorePath, outputName: string): string {
  return `${drvPath}!${outputName}`;
}

export function splitOutputKey(key: string): { readonly drvPath: StorePath; readonly outputName: string } {
  const mark = key.lastIndexOf('!');
  return { drvPath: key.slice(0, mark) as StorePath, outputName: key.slice(mark + 1) };
}

function isList(found: readonly StorePath[] | Decision): found is readonly StorePath[] {
  return Array.isArray(found);
}
