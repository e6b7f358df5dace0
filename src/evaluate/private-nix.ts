import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { systemErrorCode } from '../base/errors.ts';

/** The Nix that `nixferry get-nix` has put into a folder of its own, for machines that have none, or one that is too old. */
export interface PrivateNix {
  readonly folder: string;
  /** `/nix/store/HASH-nix-2.31.2`, as it is seen by what runs in there. */
  readonly storePath: string;
  /** `2.31.2` */
  readonly version: string;
  /** `x86_64-linux` */
  readonly system: string;
}

/** Where it is put: `$NIXFERRY_NIX`, else the cache folder of the system or of the user. All of it can be had again. */
export function privateNixFolder(): string {
  const chosen = process.env['NIXFERRY_NIX'];
  if (chosen !== undefined && chosen !== '') return resolve(chosen);
  if (process.getuid?.() === 0) return '/var/cache/nixferry/nix';
  const cache = process.env['XDG_CACHE_HOME'];
  return join(cache === undefined || cache === '' ? join(homedir(), '.cache') : cache, 'nixferry/nix');
}

/** The Nix in the folder; undefined when there is none that is whole, or none for this kind of machine. */
export function readPrivateNix(folder = privateNixFolder()): PrivateNix | undefined {
  const record = recordSchema.safeParse(readRecord(join(folder, RECORD_FILE)));
  if (!record.success || record.data.system !== currentSystem()) return undefined;
  return { folder, ...record.data };
}

/** What RECORD_FILE holds. */
export function formatPrivateNix({ storePath, version, system }: Omit<PrivateNix, 'folder'>): string {
  return `${JSON.stringify({ format: 1, storePath, version, system })}\n`;
}

/** Written last: a folder that has it holds a Nix that was started once. */
export const RECORD_FILE = 'nix.json';

/** What lies here is `/` to that Nix, as far as its store goes. */
export const STORE_ROOT = 'root';

/** A program of that Nix (`nix`, `nix-store`), to be called like any other. */
export function privateProgram(nix: Pick<PrivateNix, 'folder'>, name: string): string {
  return join(nix.folder, 'bin', name);
}

/**
 * Where the files of a store path are: under its own name where an installed Nix has it, else in the store of the private Nix. The name
 * itself when neither has it.
 */
export function locateStorePath(path: string): string {
  if (existsSync(path)) return path;
  const nix = readPrivateNix();
  const inside = nix === undefined ? undefined : join(nix.folder, STORE_ROOT, path);
  return inside !== undefined && existsSync(inside) ? inside : path;
}

/** What Nix calls this kind of machine. */
export function currentSystem(): string {
  return SYSTEMS.get(process.arch) ?? `${process.arch}-linux`;
}

const SYSTEMS: ReadonlyMap<string, string> = new Map([
  ['x64', 'x86_64-linux'],
  ['arm64', 'aarch64-linux'],
  ['ia32', 'i686-linux'],
  ['riscv64', 'riscv64-linux'],
]);

const recordSchema = z.object({
  format: z.literal(1),
  storePath: z.string(),
  version: z.string(),
  system: z.string(),
});

function readRecord(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    if (error instanceof SyntaxError || NOT_THERE.has(systemErrorCode(error))) return undefined;
    throw error;
  }
}

// A folder that others may not look into is of no use to them.
const NOT_THERE: ReadonlySet<string | undefined> = new Set(['ENOENT', 'ENOTDIR', 'EACCES']);
