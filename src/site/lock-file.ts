import { z } from 'zod';
import { NixferryError } from '../base/errors.ts';
import { readFileIfExists } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';

const node = z.looseObject({
  inputs: z.record(z.string(), z.union([z.string(), z.array(z.string())])).optional(),
  locked: z.record(z.string(), z.unknown()).optional(),
  original: z.record(z.string(), z.unknown()).optional(),
});
const lockFile = z.looseObject({ nodes: z.record(z.string(), node), root: z.string() });

/** A flake.lock, with whatever else stands in it. */
export type Lock = z.infer<typeof lockFile>;
export type LockNode = z.infer<typeof node>;

/** The lock of a flake that was never locked is empty, and `bytes` undefined. Throws NixferryError `damage` for what is no lock. */
export async function readLock(file: string): Promise<{ readonly bytes: Buffer | undefined; readonly lock: Lock }> {
  const bytes = await readFileIfExists(file, LIMITS.flakeLockBytes);
  if (bytes === undefined) return { bytes, lock: { nodes: { root: {} }, root: 'root', version: 7 } };
  const lock = lockFile.safeParse(parseJson(bytes));
  if (lock.success) return { bytes, lock: lock.data };
  throw new NixferryError('damage', `${file} is no lock of a flake: ${lock.error.issues[0]?.message ?? 'not JSON'}`, {
    hint: 'bring the file back as it was (git checkout flake.lock), or remove it to have it locked anew',
  });
}

/** As Nix writes it: names in their order, two spaces, and a line feed at the end. */
export function formatLock(lock: Lock): string {
  return `${JSON.stringify(sorted(lock), undefined, 2)}\n`;
}

/** What an input is, `home-manager/nixpkgs` being one of another's: its node; `follows` where it is that of somebody else; undefined where it is not there. */
export function inputAt(lock: Lock, name: string): LockNode | 'follows' | undefined {
  let found = lock.nodes[lock.root];
  for (const part of name.split('/')) {
    const key = found?.inputs?.[part];
    if (Array.isArray(key)) return 'follows';
    found = key === undefined ? undefined : lock.nodes[key];
  }
  return found;
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([name, inner]) => [name, sorted(inner)]));
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}
