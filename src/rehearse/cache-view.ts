import { existsSync } from 'node:fs';
import { mkdir, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { mapConcurrent } from '../base/concurrency.ts';
import { LIMITS } from '../base/limits.ts';
import { CACHE_INFO_NAME, narInfoName, PUBLIC_FOLDERS } from '../mirror/layout.ts';
import { repositoryFolder } from '../mirror/repository-address.ts';
import type { RootRepository } from '../mirror/roots.ts';
import { hashPartOf, type StorePathBaseName } from '../nix/index.ts';

/** Where the mirror and the cache that Nix is given are seen in the room. */
export const ROOM_MIRROR = '/nixferry/mirror';
export const ROOM_CACHE = '/nixferry/cache';

/**
 * Makes a binary cache that has these paths of the mirror and no others: a shipment carries the paths of its roots, and whatever else the mirror has
 * must not help. All of it is links to `ROOM_MIRROR`.
 * @param folder where the cache is made
 * @param mirror the mirror's folder
 * @param repositories those that are to be seen
 */
export async function makeCacheView(
  folder: string,
  mirror: string,
  paths: Iterable<StorePathBaseName>,
  signal: AbortSignal,
  repositories: Iterable<Pick<RootRepository, 'place'>> = [],
): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const place of new Set([...repositories].map((repository) => repositoryFolder(repository.place)))) {
    await mkdir(dirname(join(folder, place)), { recursive: true });
    await symlink(`${ROOM_MIRROR}/${place}`, join(folder, place));
  }
  const shared = [CACHE_INFO_NAME, ...PUBLIC_FOLDERS].filter((name) => existsSync(join(mirror, name)));
  const names = [...shared, ...[...paths].map((path) => narInfoName(hashPartOf(path)))];
  await mapConcurrent(
    names,
    LIMITS.roomFilesInFlight,
    (name) => symlink(`${ROOM_MIRROR}/${name}`, join(folder, name)),
    signal,
  );
}
