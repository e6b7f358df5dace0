import { NixferryError } from '../base/errors.ts';

/**
 * Orders nodes so that each comes after all it refers to, and what a start needs lies close to it: depth first from the starts in their
 * order, references in the order of `referencesOf`. References to itself are passed over.
 * Throws `damage` when nodes refer to each other in a circle.
 */
export function topologicalOrder(
  starts: Iterable<number>,
  nodeCount: number,
  referencesOf: (node: number) => ArrayLike<number>,
): number[] {
  const order: number[] = [];
  const state = new Uint8Array(nodeCount);
  for (const start of starts) visit(start, state, referencesOf, order);
  return order;
}

const OPEN = 1;
const DONE = 2;

// No recursion: a chain of references may be longer than the call stack is deep.
function visit(
  start: number,
  state: Uint8Array,
  referencesOf: (node: number) => ArrayLike<number>,
  order: number[],
): void {
  if (state[start] === DONE) return;
  state[start] = OPEN;
  const stack = [{ node: start, next: 0 }];
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    const references = referencesOf(top.node);
    if (top.next === references.length) {
      state[top.node] = DONE;
      order.push(top.node);
      stack.pop();
      continue;
    }
    const reference = references[top.next++] ?? top.node;
    if (reference === top.node || state[reference] === DONE) continue;
    if (state[reference] === OPEN) throw new NixferryError('damage', 'store paths refer to each other in a circle');
    state[reference] = OPEN;
    stack.push({ node: reference, next: 0 });
  }
}
