import { existsSync, type Stats } from 'node:fs';
import { lstat, mkdir, readdir, readFile, readlink, symlink, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { mapConcurrent } from '../base/concurrency.ts';
import { LIMITS } from '../base/limits.ts';

/** Store paths of this machine's Nix, to be taken into a room whose store must be empty. */
export interface OwnPaths {
  /** The store folder as these paths spell it inside of their files. */
  readonly storeDir: string;
  /** Where they are, in full; all of one closure. */
  readonly paths: readonly string[];
}

/**
 * What the own store is called in the room: as long as the real one, so that every mention of a path can be replaced in place, in programs too.
 * For /nix/store that is `/own-store`.
 */
export function ownStoreDir(storeDir: string): string {
  return '/own-store'.padEnd(storeDir.length, '-').slice(0, storeDir.length);
}

/** The path in the room of a file in the own store. */
export function inOwnStore(path: string, storeDir: string): string {
  return ownStoreDir(storeDir) + path.slice(storeDir.length);
}

/**
 * Copies the paths into a folder, every mention of one of them changed to what it is called in the room. So a Nix that lives in /nix/store runs
 * while /nix/store is empty, and finds what it brings along neither there nor in its database. What is not mentioned as a path of the closure stays as it is:
 * the store that Nix works on is still /nix/store.
 */
export async function copyOwnPaths(own: OwnPaths, target: string, signal: AbortSignal): Promise<void> {
  const rewrite = rewriter(own);
  await mkdir(target, { recursive: true });
  for (const path of own.paths) {
    signal.throwIfAborted();
    // Two closures may share paths.
    if (existsSync(join(target, basename(path)))) continue;
    await copyTree(path, join(target, basename(path)), rewrite, signal);
  }
}

type Rewrite = (bytes: Buffer) => Buffer;

/** Changes `/nix/store/<hash of the closure>` to the own store, in place. */
export function rewriter({ storeDir, paths }: OwnPaths): Rewrite {
  const hashes = new Set(paths.map((path) => basename(path).slice(0, HASH_LENGTH)));
  const prefix = Buffer.from(`${storeDir}/`);
  const replacement = Buffer.from(`${ownStoreDir(storeDir)}/`);
  return (bytes) => {
    let at = bytes.indexOf(prefix);
    while (at !== -1) {
      const start = at + prefix.length;
      if (hashes.has(bytes.toString('latin1', start, start + HASH_LENGTH))) replacement.copy(bytes, at);
      at = bytes.indexOf(prefix, start);
    }
    return bytes;
  };
}

const HASH_LENGTH = 32;

async function copyTree(source: string, target: string, rewrite: Rewrite, signal: AbortSignal): Promise<void> {
  const stats = await lstat(source);
  if (!stats.isDirectory()) return copyLeaf(source, target, stats, rewrite);
  await mkdir(target);
  const names = await readdir(source);
  await mapConcurrent(
    names,
    LIMITS.roomFilesInFlight,
    (name) => copyTree(join(source, name), join(target, name), rewrite, signal),
    signal,
  );
}

async function copyLeaf(source: string, target: string, stats: Stats, rewrite: Rewrite): Promise<void> {
  if (stats.isSymbolicLink()) {
    const link = await readlink(source, { encoding: 'buffer' });
    return symlink(rewrite(link), target);
  }
  if (!stats.isFile()) return;
  const mode = (stats.mode & 0o111) === 0 ? 0o644 : 0o755;
  await writeFile(target, rewrite(await readFile(source)), { mode });
}
