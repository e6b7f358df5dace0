import { existsSync } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { NixferryError, systemErrorCode } from '../base/errors.ts';
import { syncDirectory } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import { type CacheInfo, formatCacheInfo, parseCacheInfo } from '../nix/cache-info.ts';
import { NixFormatError } from '../nix/format-error.ts';
import { DEFAULT_STORE_DIR } from '../nix/store-path.ts';
import { CACHE_INFO_NAME, type PrivateLayout, PUBLIC_FOLDERS, privateLayout } from './layout.ts';
import { checkMirrorFormat, writeMirrorFormat } from './mirror-format.ts';
import type { Storage } from './storage.ts';

/** Makes of a folder whatever a mirror needs and this one lacks: all of it for a new one, nothing for one that was opened before. */
export async function completeFolder(root: string, storage: Storage, storeDir: string | undefined): Promise<CacheInfo> {
  const layout = privateLayout(root);
  // Whoever held the lock before is gone, so nobody finishes what lies here.
  await rm(layout.tempFolder, { recursive: true, force: true });
  const { tempFolder, partialFolder, quarantineFolder, rootsFolder, journalFolder, damagedNarsFolder, withheldFolder } =
    layout;
  const folders = [
    tempFolder,
    partialFolder,
    quarantineFolder,
    rootsFolder,
    journalFolder,
    damagedNarsFolder,
    withheldFolder,
  ];
  for (const folder of folders) {
    await mkdir(folder, { recursive: true });
  }
  let made = false;
  for (const folder of PUBLIC_FOLDERS) {
    made = (await mkdir(join(root, folder), { recursive: true })) !== undefined || made;
  }
  if (made) await syncDirectory(root);
  const present = await readCacheInfo(storage, root);
  const cacheInfo = present ?? { storeDir: storeDir ?? DEFAULT_STORE_DIR, wantMassQuery: true, priority: 30 };
  checkStoreDir(root, cacheInfo, storeDir);
  if (present === undefined) await storage.write(CACHE_INFO_NAME, formatCacheInfo(cacheInfo));
  return cacheInfo;
}

/** Says that the folder is a mirror, and of which format. */
export async function writeFormatIfMissing(layout: PrivateLayout): Promise<void> {
  // Last of all: a mirror that states its format is complete.
  if (!(await checkMirrorFormat(layout))) await writeMirrorFormat(layout);
}

const CACHE_INFO_HINT = 'a minimal one holds the line: StoreDir: /nix/store';

/** What the folder says of itself as a binary cache; undefined when it is none. Throws `damage`. */
export async function readCacheInfo(storage: Storage, root: string): Promise<CacheInfo | undefined> {
  const bytes = await storage.read(CACHE_INFO_NAME);
  if (bytes === undefined) return undefined;
  if (bytes.length > LIMITS.cacheInfoBytes)
    throw new NixferryError('damage', `${join(root, CACHE_INFO_NAME)} is too long`, { hint: CACHE_INFO_HINT });
  try {
    return parseCacheInfo(bytes);
  } catch (error) {
    if (!(error instanceof NixFormatError)) throw error;
    throw new NixferryError('damage', `${join(root, CACHE_INFO_NAME)} cannot be read: ${error.message}`, {
      hint: CACHE_INFO_HINT,
      cause: error,
    });
  }
}

/** Throws `store-dir-mismatch` when the paths of the folder are not those that are wanted. */
export function checkStoreDir(root: string, cacheInfo: CacheInfo, wanted: string | undefined): void {
  if (wanted === undefined || wanted === cacheInfo.storeDir) return;
  throw new NixferryError('store-dir-mismatch', `${root} holds paths of ${cacheInfo.storeDir}, not of ${wanted}`, {
    hint: 'use another mirror for the other store folder',
  });
}

/** A shipment's volumes and lists must stay as they were signed; writing there would also make it useless as a medium. */
export function refuseShipment(root: string): void {
  for (let folder = root; ; folder = resolve(folder, '..')) {
    if (SHIPMENT_FILES.every((name) => existsSync(join(folder, name)))) {
      throw new NixferryError('not-a-mirror', `${root} lies inside the shipment ${folder}`, {
        hint: 'give a folder outside of it with --mirror DIR',
      });
    }
    if (folder === resolve(folder, '..')) return;
  }
}

/** Throws `not-a-mirror` unless a mirror may be made of a folder that is none yet. */
export async function refuseOtherFolder(
  root: string,
  storage: Storage,
  options: { readonly create?: boolean; readonly adopt?: boolean },
): Promise<void> {
  if ((await readCacheInfo(storage, root)) === undefined) await refuseForeignFolder(root, options.create === true);
  else if (options.adopt !== true && !wasBegun(privateLayout(root))) throw plainCache(root);
}

export function notAMirror(root: string): NixferryError {
  return new NixferryError('not-a-mirror', `there is no mirror in ${root}`, {
    hint: `make one (type: nixferry init --mirror ${root}) or name another with --mirror DIR`,
  });
}

const SHIPMENT_FILES = ['manifest.json', 'inventory.jsonl.zst'];

async function refuseForeignFolder(root: string, create: boolean): Promise<void> {
  const names = await listFolder(root);
  // A first opening that was killed leaves .nixferry behind, and perhaps the folders that it makes next.
  const own = names.includes('.nixferry') ? ['.nixferry', ...PUBLIC_FOLDERS] : [];
  const occupied = names.some((name) => !own.includes(name) && name !== 'lost+found');
  if (occupied) {
    throw new NixferryError('not-a-mirror', `${root} holds other files and is no mirror`, {
      hint: 'give an empty or new folder with --mirror DIR',
    });
  }
  if (!create) throw notAMirror(root);
}

/** Whether Nixferry made this folder: a first opening that was killed leaves a key, but no word of its format. */
function wasBegun(layout: PrivateLayout): boolean {
  return existsSync(layout.folder);
}

function plainCache(root: string): NixferryError {
  return new NixferryError('not-a-mirror', `${root} is a binary cache that Nixferry did not make`, {
    hint: `copy from it with --upstream file://${root}; or make a mirror of it (type: nixferry init --adopt --mirror ${root}, then nixferry verify)`,
  });
}

async function listFolder(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return [];
    throw error;
  }
}
