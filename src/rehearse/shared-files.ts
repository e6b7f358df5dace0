import { existsSync, realpathSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import type { RoomBind } from './room-script.ts';

/** Folders that hold anything and everything: of these, only the files themselves are shown. */
const TOO_WIDE = new Set([
  '/',
  '/etc',
  '/home',
  '/mnt',
  '/media',
  '/nix',
  '/opt',
  '/root',
  '/srv',
  '/tmp',
  '/var',
  '/var/tmp',
]);
/** What a room has of its own, or shows anyway. */
const NOT_OURS = /^\/(usr|bin|sbin|lib|lib32|lib64|libx32|proc|sys|dev|nixferry|own-store)(\/|$)/;

/**
 * How files and folders of this machine are shown in a room, at their own places. With a file comes its folder, for it may read what lies beside it;
 * with that, should it be in a clone, all of the clone.
 */
export function bindsFor(paths: Iterable<string>): RoomBind[] {
  const shown = new Set([...paths].filter((path) => existsSync(path)).flatMap(placesOf));
  const wanted = [...shown].filter((path) => !NOT_OURS.test(path)).toSorted();
  // A folder that lies in another one comes with it.
  const outermost = wanted.filter((path) => !wanted.some((other) => path.startsWith(`${other}/`)));
  return outermost.map((path) => ({ from: path, at: path, isFolder: statSync(path).isDirectory() }));
}

/** Where a link leads to has to be there as well. */
function placesOf(path: string): string[] {
  return [...new Set([surroundings(path), surroundings(realpathSync(path))])];
}

function surroundings(path: string): string {
  const folder = folderOf(path);
  if (folder === undefined) return path;
  for (let above = folder; !isTooWide(above); above = dirname(above)) {
    if (existsSync(join(above, '.git'))) return above;
  }
  return folder;
}

/** The folder to show for a path; undefined where that would be too much. */
function folderOf(path: string): string | undefined {
  const folder = statSync(path).isDirectory() ? path : dirname(path);
  return isTooWide(folder) ? undefined : folder;
}

function isTooWide(folder: string): boolean {
  return TOO_WIDE.has(folder) || folder === homedir();
}
