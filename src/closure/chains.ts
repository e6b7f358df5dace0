import type { StorePath } from '../nix/store-path.ts';
import type { ClientWalk, Reason } from './client-walk.ts';
import type { PathFacts } from './decide.ts';
import type { DerivationGraph, DerivationNode } from './derivation-graph.ts';

/** Says who wants a path, from the root down. */
export type ChainOf = (reason: Reason) => readonly StorePath[];

/**
 * Follows reasons up to what was asked for by itself: first the root's derivation or path, last the one that wants the thing directly. Where a
 * derivation is in nobody's way (a source of something that is not built), the shortest way down the graph is told.
 */
export function chainsOf<Known extends PathFacts>(walk: ClientWalk<Known>, ways: WaysDown): ChainOf {
  const parentOf = (path: StorePath): StorePath | undefined => {
    const reason = walk.builds.get(path) ?? walk.paths.get(path);
    return reason === undefined ? ways().get(path) : reason.wantedBy;
  };
  return (reason) => {
    const chain: StorePath[] = [];
    const seen = new Set<StorePath>();
    for (let path = reason.wantedBy; path !== undefined && !seen.has(path); path = parentOf(path)) {
      seen.add(path);
      chain.push(path);
    }
    return chain.toReversed();
  };
}

/** As `shortestWays`; worked out when first asked for. */
export type WaysDown = () => ReadonlyMap<StorePath, StorePath>;

export function waysDown(graph: DerivationGraph, targets: readonly DerivationNode[]): WaysDown {
  let known: ReadonlyMap<StorePath, StorePath> | undefined;
  return () => (known ??= shortestWays(graph, targets));
}

/** The derivation that each one is first an input of, breadth first from the targets. */
export function shortestWays(
  graph: DerivationGraph,
  targets: readonly DerivationNode[],
): ReadonlyMap<StorePath, StorePath> {
  const parents = new Map<StorePath, StorePath>();
  const reached = new Set(targets);
  // A set is walked in the order of insertion, also over what is added meanwhile: it is the queue.
  for (const node of reached) {
    for (const { input } of graph.inputsOf(node)) {
      if (reached.has(input)) continue;
      reached.add(input);
      parents.set(input.drvPath, node.drvPath);
    }
  }
  return parents;
}
