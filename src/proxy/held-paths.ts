import { renameSync } from 'node:fs';
import { mkdir, readdir, rm, stat, utimes } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { explainWriteError } from '../base/errors.ts';
import { readFileIfExists, writeFileAtomic } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import { hashNarFile } from '../mirror/hash-nar-file.ts';
import { NAR_PREFIX } from '../mirror/layout.ts';
import { findMismatch } from '../mirror/nar-hash.ts';
import { NixFormatError } from '../nix/format-error.ts';
import { formatNarInfo, type NarInfo, parseNarInfo } from '../nix/narinfo.ts';
import { type HashPart, hashPartOf, type StorePath } from '../nix/store-path.ts';
import type { FetchedAmount } from './protocol.ts';

/** A path that is verified and here, but not visible yet: its references are not, or somebody else is writing to the mirror. */
export interface HeldPath {
  /** As it will stand in the mirror, but for our signature. */
  readonly info: NarInfo;
  readonly narFile: string;
}

export interface HeldFile {
  readonly narFile: string;
  readonly sizeBytes: number;
  /** How many held paths have this very NAR. */
  users: number;
}

/** The paths that wait to be published, in a private folder: a NAR and a narinfo each. Survives a restart, after which every NAR is hashed again. */
export class HeldPaths {
  readonly #folder: string;
  readonly #storeDir: string;
  readonly #held = new Map<StorePath, HeldPath>();
  readonly #byHashPart = new Map<HashPart, HeldPath>();
  readonly #files = new Map<string, HeldFile>();

  constructor(folder: string, storeDir: string) {
    this.#folder = folder;
    this.#storeDir = storeDir;
  }

  get size(): number {
    return this.#held.size;
  }

  get amount(): FetchedAmount {
    const fileBytes = this.#files.values().reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    return { paths: this.#held.size, fileBytes };
  }

  all(): readonly HeldPath[] {
    return [...this.#held.values()];
  }

  get(path: StorePath): HeldPath | undefined {
    return this.#held.get(path);
  }

  byHashPart(hashPart: HashPart): HeldPath | undefined {
    return this.#byHashPart.get(hashPart);
  }

  /** By the name that the NAR will have in the mirror. */
  file(narName: string): HeldFile | undefined {
    return this.#files.get(narName);
  }

  /** Takes a file over that has just been verified: at once, since clients wait. Throws `no-space`. */
  take(info: NarInfo, verifiedFile: string): HeldPath {
    const held = { info, narFile: join(this.#folder, basename(info.url)) };
    try {
      renameSync(verifiedFile, held.narFile);
    } catch (error) {
      throw explainWriteError(error, held.narFile);
    }
    this.#remember(held);
    return held;
  }

  /**
   * Makes what was taken outlive this process. Durable it need not be: at the next start everything held is hashed again. The
   * oldest give way where there are too many. Throws `no-space`.
   */
  async keep({ info }: HeldPath): Promise<void> {
    await writeFileAtomic(this.#narInfoFile(info), formatNarInfo(info), { durable: false });
    const [oldest] = this.#held.size > LIMITS.proxyHeldPaths ? this.#held.values() : [];
    if (oldest !== undefined) await this.remove(oldest.info);
  }

  /** Forgets a path that was published or that nobody can use; its NAR, too, unless another path has the same. */
  async remove(info: NarInfo): Promise<void> {
    const held = this.#held.get(info.storePath);
    this.#held.delete(info.storePath);
    this.#byHashPart.delete(hashPartOf(info.storePath));
    await rm(this.#narInfoFile(info), { force: true });
    const file = this.#files.get(info.url);
    if (held === undefined || file === undefined) return;
    file.users -= 1;
    if (file.users > 0) return;
    this.#files.delete(info.url);
    await rm(held.narFile, { force: true });
  }

  /** Somebody has asked for it: it is worth keeping. */
  async touch({ narFile }: HeldFile): Promise<void> {
    const now = new Date();
    await utimes(narFile, now, now).catch(() => {});
  }

  /** Finds again what an earlier process held; what is damaged, incomplete or long unused is removed. */
  async restore(nowMs: number, signal: AbortSignal): Promise<void> {
    await mkdir(this.#folder, { recursive: true });
    const names = await readdir(this.#folder);
    const used = new Set<string>();
    for (const name of names.filter((one) => one.endsWith('.narinfo'))) {
      if (signal.aborted) return;
      const held = await this.#readHeld(name, nowMs);
      if (held === undefined) {
        await rm(join(this.#folder, name), { force: true });
        continue;
      }
      used.add(held.narFile);
      this.#remember(held);
    }
    for (const name of names) {
      const file = join(this.#folder, name);
      const isHeld = used.has(file) || this.#files.has(`${NAR_PREFIX}${name}`);
      if (!name.endsWith('.narinfo') && !isHeld) await rm(file, { force: true });
    }
  }

  async #readHeld(name: string, nowMs: number): Promise<HeldPath | undefined> {
    const bytes = await readFileIfExists(join(this.#folder, name), LIMITS.narInfoBytes);
    const info = bytes === undefined ? undefined : this.#parse(bytes);
    if (info === undefined) return undefined;
    const narFile = join(this.#folder, basename(info.url));
    const found = await stat(narFile).catch(() => undefined);
    if (found === undefined || nowMs - found.mtimeMs > LIMITS.proxyHeldMs) return undefined;
    try {
      if (findMismatch(await hashNarFile(narFile, info), info) !== undefined) return undefined;
    } catch {
      // What cannot be decoded is damaged.
      return undefined;
    }
    return { info, narFile };
  }

  #parse(bytes: Buffer): NarInfo | undefined {
    try {
      return parseNarInfo(bytes, this.#storeDir);
    } catch (error) {
      if (error instanceof NixFormatError) return undefined;
      throw error;
    }
  }

  #remember(held: HeldPath): void {
    const { info, narFile } = held;
    const known = this.#held.has(info.storePath);
    this.#held.set(info.storePath, held);
    this.#byHashPart.set(hashPartOf(info.storePath), held);
    const file = this.#files.get(info.url);
    if (file === undefined) this.#files.set(info.url, { narFile, sizeBytes: info.fileSizeBytes ?? 0, users: 1 });
    else if (!known) file.users += 1;
  }

  #narInfoFile(info: NarInfo): string {
    return join(this.#folder, `${hashPartOf(info.storePath)}.narinfo`);
  }
}
