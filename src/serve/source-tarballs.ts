import { existsSync } from 'node:fs';
import { mkdir, open, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Semaphore } from '../base/concurrency.ts';
import { systemErrorCode } from '../base/errors.ts';
import { freeBytes, makeTempName, TEMP_NAME_PREFIX } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import { formatHash } from '../nix/index.ts';
import type { LimitedLog } from './limited-log.ts';
import { type OpenedFile, openRegularFile } from './opened-file.ts';
import { packSource, type TarballOrder } from './pack-source.ts';
import type { ServedFiles } from './served-files.ts';
import { TransferPlaces } from './transfer-places.ts';

export interface SourceTarballsOptions {
  /** Made when it is first wanted, if there is a folder for it to be in. */
  readonly folder: string;
  readonly files: ServedFiles;
  readonly log: LimitedLog;
  /** How much is kept; default LIMITS.sourceTarballsKeptBytes. */
  readonly keptBytes?: number;
}

/** What is sent: a file that can be sent in parts, or, where none can be kept, bytes as they are packed. */
export type PackedTarball =
  | { readonly kind: 'file'; readonly file: OpenedFile }
  | { readonly kind: 'stream'; readonly bytes: AsyncIterable<Uint8Array> }
  /** More are wanted than may wait. */
  | { readonly kind: 'busy' };

/**
 * Sources as tarballs, each packed once and kept in the mirror's private folder, where all processes find it. They can be made again at any time: what was not
 * asked for the longest leaves when there are too many, and where nothing can be written, each is packed anew.
 */
export class SourceTarballs {
  readonly #folder: string;
  readonly #files: ServedFiles;
  readonly #log: LimitedLog;
  readonly #keptBytes: number;
  readonly #places = new Semaphore(LIMITS.sourceTarballsAtOnce);
  readonly #streams = new TransferPlaces(LIMITS.sourceTarballsAtOnce, LIMITS.sourceTarballsWaiting);
  readonly #packing = new Map<string, Promise<boolean>>();
  #canKeep: boolean;

  constructor({ folder, files, log, keptBytes }: SourceTarballsOptions) {
    this.#folder = folder;
    this.#files = files;
    this.#log = log;
    this.#keptBytes = keptBytes ?? LIMITS.sourceTarballsKeptBytes;
    // A plain binary cache is nobody's to leave files in.
    this.#canKeep = existsSync(dirname(folder));
  }

  /** Stands for the bytes of a tarball. */
  etagOf(order: TarballOrder): string {
    return `"${keyOf(order)}"`;
  }

  /** The file, if it was packed already; to be closed. */
  async find(order: TarballOrder): Promise<OpenedFile | undefined> {
    if (!this.#canKeep) return undefined;
    const path = this.#pathOf(order);
    const file = await openRegularFile(path, false);
    if (file === undefined || file === 'link') return undefined;
    const now = Date.now();
    if (now - file.modifiedMs > TOUCH_AFTER_MS) await utimes(path, now / 1000, now / 1000).catch(() => {});
    return file;
  }

  /** Packs where it is not there. Throws when the source cannot be read. */
  async get(order: TarballOrder): Promise<PackedTarball> {
    const known = await this.find(order);
    if (known !== undefined) return { kind: 'file', file: known };
    if (this.#canKeep) {
      const key = keyOf(order);
      const running = this.#packing.get(key);
      if (running === undefined && this.#packing.size >= MOST) return { kind: 'busy' };
      const kept = await (running ?? this.#start(key, order));
      const file = kept ? await this.find(order) : undefined;
      if (file !== undefined) return { kind: 'file', file };
    }
    if (!this.#streams.mayWait) return { kind: 'busy' };
    return { kind: 'stream', bytes: this.#streams.hold(() => packSource(this.#files, order)) };
  }

  #pathOf(order: TarballOrder): string {
    return join(this.#folder, `${keyOf(order)}.tar.gz`);
  }

  #start(key: string, order: TarballOrder): Promise<boolean> {
    const work = this.#pack(order).finally(() => this.#packing.delete(key));
    this.#packing.set(key, work);
    return work;
  }

  /** Whether it lies there then. */
  async #pack(order: TarballOrder): Promise<boolean> {
    await this.#places.acquire();
    try {
      const path = this.#pathOf(order);
      // Another process may have been faster.
      if (existsSync(path)) return true;
      await mkdir(this.#folder, { recursive: true });
      const neededBytes = order.info.narSizeBytes + LIMITS.sourceTarballsSpareBytes;
      if ((await freeBytes(this.#folder)) < neededBytes) return false;
      await writeWhole(path, packSource(this.#files, order));
      await makeRoom(this.#folder, this.#keptBytes);
      return true;
    } catch (error) {
      const code = systemErrorCode(error) ?? '';
      if (!NOT_WRITABLE.has(code)) throw error;
      this.#canKeep = FULL.has(code);
      this.#log.error({ folder: this.#folder, err: error }, 'the tarball of a source cannot be kept');
      return false;
    } finally {
      this.#places.release();
    }
  }
}

/** A disk that is full now may not be later. */
const FULL: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT']);
const NOT_WRITABLE: ReadonlySet<string> = new Set([...FULL, 'EROFS', 'EACCES', 'EPERM', 'EEXIST', 'ENOTDIR']);

/** Sources are small beside packages; a tarball that is packed differently is another one. */
function keyOf({ info, lastModified, folder }: TarballOrder): string {
  const hash = formatHash(info.narHash, 'nix32', { prefix: false });
  return [PACKING, hash, lastModified, ...(folder === undefined ? [] : [folder])].join('-');
}

const PACKING = '1';
const MOST = LIMITS.sourceTarballsAtOnce + LIMITS.sourceTarballsWaiting;
const TOUCH_AFTER_MS = 60_000;
const ABANDONED_AFTER_MS = 3_600_000;

async function writeWhole(path: string, bytes: AsyncIterable<Uint8Array>): Promise<void> {
  const tempPath = makeTempName(path);
  try {
    await using handle = await open(tempPath, 'wx', 0o644);
    for await (const chunk of bytes) await handle.writeFile(chunk);
    await handle.sync();
    await rename(tempPath, path);
  } finally {
    await rm(tempPath, { force: true });
  }
}

/** Removes what was asked for the longest ago, and what a process left that was killed. */
async function makeRoom(folder: string, maxBytes: number): Promise<void> {
  const kept: { path: string; sizeBytes: number; usedMs: number }[] = [];
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    const stats = await stat(path).catch(() => undefined);
    if (stats === undefined) continue;
    const usedMs = stats.mtimeMs;
    if (!name.startsWith(TEMP_NAME_PREFIX)) kept.push({ path, sizeBytes: stats.size, usedMs });
    else if (Date.now() - usedMs > ABANDONED_AFTER_MS) await rm(path, { force: true });
  }
  let totalBytes = kept.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  for (const { path, sizeBytes } of kept.toSorted((a, b) => a.usedMs - b.usedMs)) {
    if (totalBytes <= maxBytes) return;
    await rm(path, { force: true });
    totalBytes -= sizeBytes;
  }
}
