import { z } from 'zod';
import { type FlakeReference, flakeReference } from '../mirror/roots.ts';
import { makeSourcePath, NixFormatError, parseHash, type StorePath } from '../nix/index.ts';

/** One locked input of a flake, or of an input of it. */
export interface LockedInput {
  /** How one gets to it from the root: `nixpkgs`, `home-manager/nixpkgs`. The first way, of several. */
  readonly name: string;
  /** What `builtins.fetchTree` takes. */
  readonly attributes: Readonly<Record<string, unknown>>;
  /** Where it lies once it is fetched; undefined where the lock does not say. */
  readonly path: StorePath | undefined;
  /** A folder of its parent's source (`path:./sub`), which only Nix of before 2.26 asks for by its hash. */
  readonly isInsideParent: boolean;
  /** As the lock has it; undefined where it says what no reference says. */
  readonly locked: FlakeReference | undefined;
  /** What the flake asked for. */
  readonly original: FlakeReference | undefined;
}

const node = z.looseObject({
  inputs: z.record(z.string(), z.union([z.string(), z.array(z.string())])).optional(),
  locked: z.record(z.string(), z.unknown()).optional(),
  original: z.unknown().optional(),
  parent: z.array(z.string()).optional(),
});
const lock = z.looseObject({ nodes: z.record(z.string(), node), root: z.string() });
export type FlakeLock = z.infer<typeof lock>;
export const flakeLock = lock;

/**
 * The inputs that a lock file names, wherever in the tree, each once; what `follows` another is that other. An input inside its parent's
 * source is carried with that and left out, unless it was locked by a Nix that asks for it by its hash.
 * @param flakeLock the contents of a flake.lock
 */
export function listLockedInputs({ nodes, root }: FlakeLock, storeDir: string): LockedInput[] {
  const names = new Map<string, string>([[root, '']]);
  const found: LockedInput[] = [];
  // Breadth first, so that an input of the root is called as the root calls it. The map grows while it is walked.
  for (const [key, name] of names) {
    const { locked, original, inputs = {} } = nodes[key] ?? {};
    if (name !== '' && locked !== undefined) {
      const path = pathOf(locked, storeDir);
      const isInside = isInsideParent(locked);
      if (!isInside || path !== undefined) {
        found.push({
          name,
          attributes: fetchAttributes(locked),
          path,
          isInsideParent: isInside,
          locked: flakeReference.safeParse(locked).data,
          original: flakeReference.safeParse(original).data,
        });
      }
    }
    for (const [input, target] of Object.entries(inputs)) {
      if (typeof target === 'string' && !names.has(target)) names.set(target, name === '' ? input : `${name}/${input}`);
    }
  }
  return found;
}

type Locked = Readonly<Record<string, unknown>>;

function isInsideParent(locked: Locked): boolean {
  const { type, path } = locked;
  return type === 'path' && typeof path === 'string' && !path.startsWith('/');
}

/** `dir` says where in the tree the flake is, and `__final` is Nix's own note. */
function fetchAttributes(locked: Locked): Locked {
  return Object.fromEntries(Object.entries(locked).filter(([name]) => name !== 'dir' && !name.startsWith('__')));
}

function pathOf(locked: Locked, storeDir: string): StorePath | undefined {
  const { narHash } = locked;
  if (typeof narHash !== 'string') return undefined;
  try {
    return makeSourcePath('source', parseHash(narHash), storeDir);
  } catch (error) {
    if (error instanceof NixFormatError) return undefined;
    throw error;
  }
}
