// src/serve answers HTTP: server.ts starts and stops, app.ts wires, endpoints/ holds one file per kind of answer, express/ the short way
// for what is asked most. It reads the mirror and never writes it but for the list of what was asked for in vain and tarballs that it can pack again, opens no connection of its own, and keeps
// nothing that the disk does not say. This file is all that the endpoints see of the disk.
import type { Stats } from 'node:fs';
import { lstat, realpath, stat } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { NixferryError, systemErrorCode } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { openFileStorage } from '../mirror/file-storage.ts';
import { isStorageName, type StoredFile } from '../mirror/storage.ts';
import { NOT_THERE, type OpenedFile, openRegularFile } from './opened-file.ts';

/**
 * What clients may see of a mirror: no name that begins with a dot, nothing outside, also not by way of a link. Every name is allowed as
 * an argument: one that cannot be served is simply not there.
 */
export interface ServedFiles {
  /** The whole contents. Throws `damage` when there is more than any file to be read whole has. */
  read(name: string): Promise<Buffer | undefined>;
  stat(name: string): Promise<StoredFile | undefined>;
  open(name: string): Promise<OpenedFile | undefined>;
  changeToken(): Promise<string | undefined>;
}

/** `directory` must exist. */
export async function openServedFiles(directory: string): Promise<ServedFiles> {
  const root = await realpath(directory);
  const storage = openFileStorage(root);
  const folders = new Map<string, { readonly inside: boolean; readonly checkedMs: number }>();

  /** Looking at each folder once in a while spares looking at the whole way to each file. */
  const isFolderInside = async (folder: string): Promise<boolean> => {
    if (folder === '.') return true;
    const known = folders.get(folder);
    const nowMs = performance.now();
    if (known !== undefined && nowMs - known.checkedMs < LIMITS.servedFolderCheckMs) return known.inside;
    const inside = await leadsInside(root, folder);
    if (folders.size >= LIMITS.servedFoldersKnown) folders.clear();
    folders.set(folder, { inside, checkedMs: nowMs });
    return inside;
  };
  const openServed = async (name: string): Promise<OpenedFile | undefined> => {
    if (!isStorageName(name) || !(await isFolderInside(dirname(name)))) return undefined;
    const path = join(root, name);
    const opened = await openRegularFile(path, false);
    if (opened !== 'link') return opened;
    if (!(await leadsInside(root, name))) return undefined;
    const target = await openRegularFile(path, true);
    return target === 'link' ? undefined : target;
  };
  return {
    stat: async (name) => {
      if (!isStorageName(name) || !(await isFolderInside(dirname(name)))) return undefined;
      const path = join(root, name);
      const found = await describeFile(path, lstat);
      if (found?.isSymbolicLink() !== true) return asStored(found);
      return (await leadsInside(root, name)) ? asStored(await describeFile(path, stat)) : undefined;
    },
    open: openServed,
    read: async (name) => {
      const file = await openServed(name);
      if (file === undefined) return undefined;
      try {
        return await readWhole(file, join(root, name));
      } finally {
        file.close();
      }
    },
    changeToken: async () => {
      const [token, narFolder] = await Promise.all([storage.changeToken(), folderToken(join(root, 'nar'))]);
      return token === undefined ? undefined : `${token} ${narFolder}`;
    },
  };
}

async function describeFile(path: string, look: (path: string) => Promise<Stats>): Promise<Stats | undefined> {
  try {
    return await look(path);
  } catch (error) {
    if (NOT_THERE.has(systemErrorCode(error) ?? '')) return undefined;
    throw error;
  }
}

function asStored(stats: Stats | undefined): StoredFile | undefined {
  return stats?.isFile() === true ? { sizeBytes: stats.size, modifiedMs: stats.mtimeMs } : undefined;
}

async function readWhole(file: OpenedFile, path: string): Promise<Buffer> {
  if (file.sizeBytes > LIMITS.storageReadBytes) {
    throw new NixferryError(
      'damage',
      `${path} is longer than ${LIMITS.storageReadBytes} bytes, which no honest one is`,
    );
  }
  const bytes = Buffer.allocUnsafe(file.sizeBytes);
  let filledBytes = 0;
  while (filledBytes < bytes.length) {
    const readBytes = await file.read(bytes.subarray(filledBytes), filledBytes);
    if (readBytes === 0) break;
    filledBytes += readBytes;
  }
  return bytes.subarray(0, filledBytes);
}

/** Whether the name, with all links followed, is still a name that may be served. */
async function leadsInside(root: string, name: string): Promise<boolean> {
  try {
    return isStorageName(relative(root, await realpath(join(root, name))));
  } catch (error) {
    if (NOT_THERE.has(systemErrorCode(error) ?? '')) return false;
    throw error;
  }
}

async function folderToken(path: string): Promise<string> {
  try {
    const stats = await stat(path, { bigint: true });
    return `${stats.ino}:${stats.mtimeNs}`;
  } catch (error) {
    if (NOT_THERE.has(systemErrorCode(error) ?? '')) return 'none';
    throw error;
  }
}
