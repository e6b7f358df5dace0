import { existsSync } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { NixferryError, systemErrorCode } from '../base/errors.ts';
import { makeFolders, syncDirectory } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import { type CacheInfo, formatCacheInfo, parseCacheInfo } from '../nix/cache-info.ts';
import { NixFormatError } from '../nix/format-error.ts';
import { type NarInfo, parseNarInfo } from '../nix/narinfo.ts';
import type { PublicKey, SecretKey } from '../nix/signature.ts';
import { DEFAULT_STORE_DIR, type HashPart, hashPartOf } from '../nix/store-path.ts';
import { openFileStorage } from './file-storage.ts';
import { type MirrorIndex, openIndex } from './index.ts';
import { defaultKeyName, generateMirrorKey, readMirrorPublicKey, readSecretKey, refreshPublicKeyFile } from './keys.ts';
import { CACHE_INFO_NAME, narInfoName, type PrivateLayout, PUBLIC_FOLDERS, privateLayout } from './layout.ts';
import { checkMirrorFormat, writeMirrorFormat } from './mirror-format.ts';
import { type MirrorLock, takeMirrorLock } from './mirror-lock.ts';
import type { Storage } from './storage.ts';

const SHIPMENT_FILES = ['manifest.json', 'inventory.jsonl.zst'];

export type MirrorAccess = 'read' | 'write';

export interface OpenMirrorOptions {
  /** `write` takes the lock, of which there is one. `read` never writes a byte, and works on read-only media and beside a writer. */
  readonly access: MirrorAccess;
  /** With write access: make a mirror where there is none yet (in a missing or empty folder). */
  readonly create?: boolean;
  /** With write access: make a mirror of a plain binary cache, whose files nobody has checked. */
  readonly adopt?: boolean;
  /** The store folder of a new mirror (default /nix/store), or what an existing one must have (`store-dir-mismatch` otherwise). */
  readonly storeDir?: string;
  /** The name of a new mirror's key. */
  readonly keyName?: string;
  /** Named to whoever finds the mirror locked. */
  readonly command?: string;
}

export interface Mirror extends AsyncDisposable {
  readonly directory: string;
  readonly access: MirrorAccess;
  readonly cacheInfo: CacheInfo;
  readonly storeDir: string;
  readonly storage: Storage;
  readonly index: MirrorIndex;
  readonly layout: PrivateLayout;
  /** False only for a plain binary cache that was opened to read. */
  readonly hasKey: boolean;
  /** What signs everything that the mirror publishes. Throws `not-a-mirror` for a plain binary cache that was opened to read. */
  readonly publicKey: PublicKey;
  /** Only with write access; asking otherwise is a bug and throws. */
  readonly secretKey: SecretKey;
  /** What the user should be told, such as a secret key that others may read. */
  readonly warnings: readonly string[];
  /** Whether clients see the path. */
  hasPath(hashPart: HashPart): Promise<boolean>;
  /** The narinfo that clients see, from the file itself. Throws `damage` when it cannot be parsed, or is another path's. */
  readNarInfo(hashPart: HashPart): Promise<NarInfo | undefined>;
  close(): Promise<void>;
}

/**
 * Opens the mirror in a folder. With write access a plain `file://` binary cache becomes a mirror by it: it gets a key and an index.
 * Throws `not-a-mirror`, `newer-format`, `mirror-locked`, `store-dir-mismatch`.
 */
export async function openMirror(directory: string, options: OpenMirrorOptions): Promise<Mirror> {
  const root = resolve(directory);
  refuseShipment(root);
  const layout = privateLayout(root);
  const known = await checkMirrorFormat(layout);
  return options.access === 'read' ? openToRead(root, options) : openToWrite(root, options, known);
}

async function openToRead(root: string, options: OpenMirrorOptions): Promise<Mirror> {
  const storage = openFileStorage(root);
  const cacheInfo = await readCacheInfo(storage, root);
  if (cacheInfo === undefined) throw notAMirror(root);
  checkStoreDir(root, cacheInfo, options.storeDir);
  const publicKey = await readMirrorPublicKey({ directory: root });
  return new OpenedMirror({ root, access: 'read', storage, cacheInfo, publicKey, warnings: [] });
}

async function openToWrite(root: string, options: OpenMirrorOptions, known: boolean): Promise<Mirror> {
  const layout = privateLayout(root);
  const storage = openFileStorage(root, { tempDirectory: layout.tempFolder });
  if (!known) {
    if ((await readCacheInfo(storage, root)) === undefined) await refuseForeignFolder(root, options.create === true);
    else if (options.adopt !== true && !wasBegun(layout)) throw plainCache(root);
  }
  await makeFolders(layout.folder);
  const lock = await takeMirrorLock(layout, options.command ?? 'nixferry');
  try {
    const cacheInfo = await makeComplete(root, layout, storage, options);
    const secret = await readSecretKey({ directory: root });
    const secretKey =
      secret?.key ?? (await generateMirrorKey({ directory: root }, options.keyName ?? defaultKeyName()));
    const publicKey = await refreshPublicKeyFile({ directory: root }, secretKey);
    await writeFormatIfMissing(layout);
    const warnings = secret?.warnings ?? [];
    return new OpenedMirror({ root, access: 'write', storage, cacheInfo, publicKey, secretKey, warnings, lock });
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** Makes whatever a mirror needs and this one lacks: all of it for a new one, nothing for one that was opened before. */
async function makeComplete(
  root: string,
  layout: PrivateLayout,
  storage: Storage,
  options: OpenMirrorOptions,
): Promise<CacheInfo> {
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
  const cacheInfo = present ?? { storeDir: options.storeDir ?? DEFAULT_STORE_DIR, wantMassQuery: true, priority: 30 };
  checkStoreDir(root, cacheInfo, options.storeDir);
  if (present === undefined) await storage.write(CACHE_INFO_NAME, formatCacheInfo(cacheInfo));
  return cacheInfo;
}

async function writeFormatIfMissing(layout: PrivateLayout): Promise<void> {
  // Last of all: a mirror that states its format is complete.
  if (!(await checkMirrorFormat(layout))) await writeMirrorFormat(layout);
}

interface OpenedParts {
  readonly root: string;
  readonly access: MirrorAccess;
  readonly storage: Storage;
  readonly cacheInfo: CacheInfo;
  readonly publicKey: PublicKey | undefined;
  readonly secretKey?: SecretKey;
  readonly warnings: readonly string[];
  readonly lock?: MirrorLock;
}

class OpenedMirror implements Mirror {
  readonly directory: string;
  readonly access: MirrorAccess;
  readonly cacheInfo: CacheInfo;
  readonly storage: Storage;
  readonly index: MirrorIndex;
  readonly layout: PrivateLayout;
  readonly warnings: readonly string[];
  readonly #publicKey: PublicKey | undefined;
  readonly #secretKey: SecretKey | undefined;
  readonly #lock: MirrorLock | undefined;

  constructor(parts: OpenedParts) {
    this.directory = parts.root;
    this.access = parts.access;
    this.cacheInfo = parts.cacheInfo;
    this.storage = parts.storage;
    this.layout = privateLayout(parts.root);
    this.warnings = parts.warnings;
    this.#publicKey = parts.publicKey;
    this.#secretKey = parts.secretKey;
    this.#lock = parts.lock;
    this.index = openIndex({
      file: this.layout.indexFile,
      storage: parts.storage,
      storeDir: parts.cacheInfo.storeDir,
      writable: parts.access === 'write',
    });
  }

  get storeDir(): string {
    return this.cacheInfo.storeDir;
  }

  get hasKey(): boolean {
    return this.#publicKey !== undefined;
  }

  get publicKey(): PublicKey {
    if (this.#publicKey !== undefined) return this.#publicKey;
    throw new NixferryError('not-a-mirror', `${this.directory} is a plain binary cache without a key of its own`, {
      hint: `type: nixferry init --mirror ${this.directory}`,
    });
  }

  get secretKey(): SecretKey {
    if (this.#secretKey !== undefined) return this.#secretKey;
    throw new Error('the secret key was asked of a mirror that was opened to read');
  }

  async hasPath(hashPart: HashPart): Promise<boolean> {
    return (await this.storage.stat(narInfoName(hashPart))) !== undefined;
  }

  async readNarInfo(hashPart: HashPart): Promise<NarInfo | undefined> {
    const bytes = await this.storage.read(narInfoName(hashPart));
    if (bytes === undefined) return undefined;
    const info = this.#parse(hashPart, bytes);
    if (hashPartOf(info.storePath) === hashPart) return info;
    throw this.#damaged(hashPart, `it describes ${info.storePath}`);
  }

  async close(): Promise<void> {
    try {
      await this.index.close();
    } finally {
      this.#lock?.release();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #parse(hashPart: HashPart, bytes: Buffer): NarInfo {
    try {
      return parseNarInfo(bytes, this.storeDir);
    } catch (error) {
      if (error instanceof NixFormatError) throw this.#damaged(hashPart, error.message);
      throw error;
    }
  }

  #damaged(hashPart: HashPart, why: string): NixferryError {
    return new NixferryError('damage', `${join(this.directory, narInfoName(hashPart))} is damaged: ${why}`, {
      hint: `type: nixferry verify --mirror ${this.directory}`,
    });
  }
}

async function readCacheInfo(storage: Storage, root: string): Promise<CacheInfo | undefined> {
  const bytes = await storage.read(CACHE_INFO_NAME);
  if (bytes === undefined) return undefined;
  if (bytes.length > LIMITS.cacheInfoBytes)
    throw new NixferryError('damage', `${join(root, CACHE_INFO_NAME)} is too long`);
  try {
    return parseCacheInfo(bytes);
  } catch (error) {
    if (!(error instanceof NixFormatError)) throw error;
    throw new NixferryError('damage', `${join(root, CACHE_INFO_NAME)} cannot be read: ${error.message}`, {
      hint: 'a minimal one holds the line: StoreDir: /nix/store',
      cause: error,
    });
  }
}

function checkStoreDir(root: string, cacheInfo: CacheInfo, wanted: string | undefined): void {
  if (wanted === undefined || wanted === cacheInfo.storeDir) return;
  throw new NixferryError('store-dir-mismatch', `${root} holds paths of ${cacheInfo.storeDir}, not of ${wanted}`, {
    hint: 'use another mirror for the other store folder',
  });
}

/** A shipment's volumes and lists must stay as they were signed; writing there would also make it useless as a medium. */
function refuseShipment(root: string): void {
  for (let folder = root; ; folder = resolve(folder, '..')) {
    if (SHIPMENT_FILES.every((name) => existsSync(join(folder, name)))) {
      throw new NixferryError('not-a-mirror', `${root} lies inside the shipment ${folder}`, {
        hint: 'give a folder outside of it with --mirror DIR',
      });
    }
    if (folder === resolve(folder, '..')) return;
  }
}

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

function notAMirror(root: string): NixferryError {
  return new NixferryError('not-a-mirror', `there is no mirror in ${root}`, {
    hint: `make one (type: nixferry init --mirror ${root}) or name another with --mirror DIR`,
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
