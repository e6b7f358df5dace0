import { type HashPart, hashPartOf, type StorePath } from '../nix/store-path.ts';

/** What must be known of a path to put it in order. A `NarInfo` is one. */
export interface Referrer {
  readonly storePath: StorePath;
  readonly references: readonly StorePath[];
}

export interface PublishOrder<Item extends Referrer> {
  /** Each item stands in a later level than everything that it refers to; all of a level may become visible at once. */
  readonly levels: readonly (readonly Item[])[];
  readonly refused: readonly RefusedItem<Item>[];
}

export interface RefusedItem<Item extends Referrer> {
  readonly item: Item;
  readonly reason: 'reference-missing' | 'reference-refused' | 'reference-cycle';
  /** The references that keep it from being published, sorted. */
  readonly missing: readonly StorePath[];
}

/**
 * Sorts items so that references come first. Left out are those with a reference that is neither visible nor among the items, those in a cycle
 * of more than one path, and all that refer to such; a reference to oneself is no obstacle. Items must be of different paths.
 */
export function orderForPublishing<Item extends Referrer>(
  items: readonly Item[],
  isVisible: (path: StorePath) => boolean,
): PublishOrder<Item> {
  const nodes = new Map(items.map((item) => [hashPartOf(item.storePath), makeNode(item)]));
  for (const node of nodes.values()) connect(node, nodes, isVisible);
  const levels: Item[][] = [];
  let ready = [...nodes.values()].filter((node) => node.unmet === 0 && node.missing.length === 0);
  while (ready.length > 0) {
    levels.push(ready.map((node) => node.item));
    const next: Node<Item>[] = [];
    for (const node of ready) {
      node.placed = true;
      for (const referrer of node.referrers) {
        referrer.unmet -= 1;
        if (referrer.unmet === 0 && referrer.missing.length === 0) next.push(referrer);
      }
    }
    ready = next;
  }
  return { levels, refused: explainRest(nodes) };
}

interface Node<Item extends Referrer> {
  readonly item: Item;
  readonly referrers: Node<Item>[];
  /** References among the items. */
  readonly references: Node<Item>[];
  /** References that are nowhere. */
  readonly missing: StorePath[];
  unmet: number;
  placed: boolean;
}

function makeNode<Item extends Referrer>(item: Item): Node<Item> {
  return { item, referrers: [], references: [], missing: [], unmet: 0, placed: false };
}

function connect<Item extends Referrer>(
  node: Node<Item>,
  nodes: ReadonlyMap<HashPart, Node<Item>>,
  isVisible: (path: StorePath) => boolean,
): void {
  for (const reference of new Set(node.item.references)) {
    if (reference === node.item.storePath) continue;
    const target = nodes.get(hashPartOf(reference));
    if (target === node || (target !== undefined && target.item.storePath !== reference)) {
      // The hash part with another name: not a path that exists anywhere.
      node.missing.push(reference);
    } else if (target !== undefined) {
      target.referrers.push(node);
      node.references.push(target);
      node.unmet += 1;
    } else if (!isVisible(reference)) {
      node.missing.push(reference);
    }
  }
}

function explainRest<Item extends Referrer>(nodes: ReadonlyMap<HashPart, Node<Item>>): RefusedItem<Item>[] {
  const rest = [...nodes.values()].filter((node) => !node.placed);
  const cyclic = findCyclic(rest);
  return rest.map((node) => {
    const blocking = node.references.filter((target) => !target.placed).map((target) => target.item.storePath);
    const missing = [...node.missing, ...blocking].toSorted();
    if (node.missing.length > 0) return { item: node.item, reason: 'reference-missing', missing };
    return { item: node.item, reason: cyclic.has(node) ? 'reference-cycle' : 'reference-refused', missing };
  });
}

/** The nodes that are in a cycle, and not merely before or behind one: the strongly connected components of more than one node. */
function findCyclic<Item extends Referrer>(rest: readonly Node<Item>[]): ReadonlySet<Node<Item>> {
  const cyclic = new Set<Node<Item>>();
  const states = new Map<Node<Item>, { order: number; low: number; onStack: boolean }>();
  const component: Node<Item>[] = [];
  for (const start of rest) {
    if (states.has(start)) continue;
    // Tarjan's algorithm with a stack of its own: a chain of references may be longer than the call stack.
    const walk: { node: Node<Item>; next: number }[] = [];
    const enter = (node: Node<Item>): void => {
      states.set(node, { order: states.size, low: states.size, onStack: true });
      component.push(node);
      walk.push({ node, next: 0 });
    };
    enter(start);
    for (let top = walk.at(-1); top !== undefined; top = walk.at(-1)) {
      const state = states.get(top.node);
      if (state === undefined) throw new Error('a node on the walk has no state');
      const target = top.node.references[top.next++];
      if (target === undefined) {
        walk.pop();
        const parent = walk.at(-1);
        const parentState = parent === undefined ? undefined : states.get(parent.node);
        if (parentState !== undefined) parentState.low = Math.min(parentState.low, state.low);
        if (state.low === state.order) closeComponent(top.node, component, states, cyclic);
        continue;
      }
      if (target.placed) continue;
      const seen = states.get(target);
      if (seen === undefined) enter(target);
      else if (seen.onStack) state.low = Math.min(state.low, seen.order);
    }
  }
  return cyclic;
}

function closeComponent<Item extends Referrer>(
  root: Node<Item>,
  component: Node<Item>[],
  states: ReadonlyMap<Node<Item>, { onStack: boolean }>,
  cyclic: Set<Node<Item>>,
): void {
  const members = component.splice(component.indexOf(root));
  for (const member of members) {
    const state = states.get(member);
    if (state !== undefined) state.onStack = false;
    if (members.length > 1) cyclic.add(member);
  }
}
