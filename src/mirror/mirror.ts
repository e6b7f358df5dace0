import { join, resolve } from 'node:path';
import { NixferryError } from '../base/errors.ts';
import { makeFolders } from '../base/files.ts';
import type { CacheInfo } from '../nix/cache-info.ts';
import { NixFormatError } from '../nix/format-error.ts';
import { type NarInfo, parseNarInfo } from '../nix/narinfo.ts';
import type { PublicKey, SecretKey } from '../nix/signature.ts';
import { type HashPart, hashPartOf } from '../nix/store-path.ts';
import { openFileStorage } from './file-storage.ts';
import { type FlatFileTable, openFlatFiles } from './flat-files.ts';
import type { MirrorIndex } from './index.ts';
import { readFormerKeys } from './key-rotation.ts';
import { defaultKeyName, generateMirrorKey, readMirrorPublicKey, readSecretKey, refreshPublicKeyFile } from './keys.ts';
import { narInfoName, type PrivateLayout, privateLayout } from './layout.ts';
import {
  checkStoreDir,
  completeFolder,
  notAMirror,
  readCacheInfo,
  refuseOtherFolder,
  refuseShipment,
  writeFormatIfMissing,
} from './mirror-folder.ts';
import { checkMirrorFormat } from './mirror-format.ts';
import { type MirrorLock, takeMirrorLock } from './mirror-lock.ts';
import { openIndex } from './sqlite-index.ts';
import type { Storage } from './storage.ts';

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
  /** What narinfos are signed with: `secretKey`, and after it the former keys that are not retired. Only with write access. */
  readonly signingKeys: readonly SecretKey[];
  /** What the user should be told, such as a secret key that others may read. */
  readonly warnings: readonly string[];
  /** Which hashes flat outputs can be asked for by. Only with write access; asking otherwise is a bug and throws. */
  flatFiles(): Promise<FlatFileTable>;
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
  if (!known) await refuseOtherFolder(root, storage, options);
  await makeFolders(layout.folder);
  const lock = await takeMirrorLock(layout, options.command ?? 'nixferry');
  try {
    const cacheInfo = await completeFolder(root, storage, options.storeDir);
    const secret = await readSecretKey({ directory: root });
    const secretKey =
      secret?.key ?? (await generateMirrorKey({ directory: root }, options.keyName ?? defaultKeyName()));
    const publicKey = await refreshPublicKeyFile({ directory: root }, secretKey);
    await writeFormatIfMissing(layout);
    const warnings = secret?.warnings ?? [];
    const formerKeys = await readFormerKeys({ directory: root });
    return new OpenedMirror({
      root,
      access: 'write',
      storage,
      cacheInfo,
      publicKey,
      secretKey,
      formerKeys,
      warnings,
      lock,
    });
  } catch (error) {
    lock.release();
    throw error;
  }
}

interface OpenedParts {
  readonly root: string;
  readonly access: MirrorAccess;
  readonly storage: Storage;
  readonly cacheInfo: CacheInfo;
  readonly publicKey: PublicKey | undefined;
  readonly secretKey?: SecretKey;
  readonly formerKeys?: readonly SecretKey[];
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
  readonly #formerKeys: readonly SecretKey[];
  readonly #lock: MirrorLock | undefined;
  #flatFiles: Promise<FlatFileTable> | undefined;

  constructor(parts: OpenedParts) {
    this.directory = parts.root;
    this.access = parts.access;
    this.cacheInfo = parts.cacheInfo;
    this.storage = parts.storage;
    this.layout = privateLayout(parts.root);
    this.warnings = parts.warnings;
    this.#publicKey = parts.publicKey;
    this.#secretKey = parts.secretKey;
    this.#formerKeys = parts.formerKeys ?? [];
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

  get signingKeys(): readonly SecretKey[] {
    return [this.secretKey, ...this.#formerKeys];
  }

  flatFiles(): Promise<FlatFileTable> {
    if (this.access !== 'write')
      throw new Error('the table of flat files was asked of a mirror that was opened to read');
    this.#flatFiles ??= openFlatFiles(this.layout.flatFilesFile);
    return this.#flatFiles;
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
      (await this.#flatFiles)?.close();
      this.#flatFiles = undefined;
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
