import { availableParallelism } from 'node:os';

// The heap of an evaluation that was measured lacks what lies outside of it, and a variant may need more than its root.
const MARGIN = 1.4;
// A NixOS takes about this much, where Nix does not say.
const USUAL_HEAP_BYTES = 1.5 * 1024 ** 3;
// What is left to everybody else.
const SHARE = 0.8;

/** How many evaluations of about `heapBytes` each may run at once: as many as there are processors, and as memory is free for. At least one. */
export function evaluationsAtOnce(
  heapBytes: number | undefined,
  availableBytes = process.availableMemory(),
  processors = availableParallelism(),
): number {
  const each = (heapBytes ?? USUAL_HEAP_BYTES) * MARGIN;
  return Math.max(1, Math.min(processors, Math.floor((availableBytes * SHARE) / each)));
}
