// src/serve answers HTTP: server.ts starts and stops, app.ts wires, endpoints/ holds one file per kind of answer. It reads the
// mirror and never writes it, opens no connection of its own, and keeps nothing that the disk does not say. This file is all
// that the endpoints see of the disk.
import { realpath, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { systemErrorCode } from '../base/errors.ts';
import { openFileStorage } from '../mirror/file-storage.ts';
import { isStorageName, type Storage } from '../mirror/storage.ts';

/** What clients may see of a mirror: no name that begins with a dot, nothing outside, also not by way of a link. */
export type ServedFiles = Pick<Storage, 'stat' | 'read' | 'open' | 'changeToken'>;

/** `directory` must exist. Every name is allowed as an argument: one that cannot be served is simply not there. */
export async function openServedFiles(directory: string): Promise<ServedFiles> {
  const root = await realpath(directory);
  const storage = openFileStorage(root);
  return {
    stat: async (name) => ((await leadsInside(root, name)) ? storage.stat(name) : undefined),
    read: async (name) => ((await leadsInside(root, name)) ? storage.read(name) : undefined),
    open: async (name, range) => ((await leadsInside(root, name)) ? storage.open(name, range) : undefined),
    changeToken: async () => {
      const [token, narFolder] = await Promise.all([storage.changeToken(), folderToken(join(root, 'nar'))]);
      return token === undefined ? undefined : `${token} ${narFolder}`;
    },
  };
}

/** Whether the name, with all links followed, is still a name that may be served. */
async function leadsInside(root: string, name: string): Promise<boolean> {
  if (!isStorageName(name)) return false;
  try {
    return isStorageName(relative(root, await realpath(join(root, name))));
  } catch (error) {
    if (NOT_THERE.has(systemErrorCode(error) ?? '')) return false;
    throw error;
  }
}

const NOT_THERE: ReadonlySet<string> = new Set(['ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG']);

async function folderToken(path: string): Promise<string> {
  try {
    const stats = await stat(path, { bigint: true });
    return `${stats.ino}:${stats.mtimeNs}`;
  } catch (error) {
    if (NOT_THERE.has(systemErrorCode(error) ?? '')) return 'none';
    throw error;
  }
}
