import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { narInfoName } from '../mirror/layout.ts';
import { NixFormatError } from '../nix/format-error.ts';
import { type NarInfo, parseNarInfo } from '../nix/narinfo.ts';
import type { HashPart } from '../nix/store-path.ts';
import { ByteCache } from './byte-cache.ts';
import type { ChangeWatch } from './change-watch.ts';
import { etagOfBytes } from './etag.ts';
import { formatNarInfoAnswer } from './express/express-answer.ts';
import type { LimitedLog } from './limited-log.ts';
import type { ServedFiles } from './served-files.ts';

export interface ServedNarInfo {
  readonly etag: string;
  /** What of an HTTP answer is this narinfo's own, rendered; `narInfoOfAnswer` gives its bytes as on the disk. */
  readonly answer: string;
}

export interface NarInfoCacheOptions {
  readonly files: ServedFiles;
  readonly storeDir: string;
  readonly watch: ChangeWatch;
  readonly log: LimitedLog;
  readonly maxBytes: number;
}

/** The narinfos that may be answered with, the often asked ones from memory; a change on the disk is seen as soon as `watch` sees it. */
export class NarInfoCache {
  readonly #files: ServedFiles;
  readonly #storeDir: string;
  readonly #watch: ChangeWatch;
  readonly #log: LimitedLog;
  readonly #entries: ByteCache<CacheEntry>;
  readonly #loading = new Map<HashPart, Promise<ServedNarInfo | undefined>>();

  constructor(options: NarInfoCacheOptions) {
    this.#files = options.files;
    this.#storeDir = options.storeDir;
    this.#watch = options.watch;
    this.#log = options.log;
    this.#entries = new ByteCache(options.maxBytes);
  }

  /** The narinfo when it is in memory and nothing has changed on the disk; undefined says nothing. Any text will do. */
  atHand(text: string): ServedNarInfo | undefined {
    const entry = this.#entries.get(text);
    return entry !== undefined && entry.version === this.#watch.version() ? entry : undefined;
  }

  /** The narinfo, or undefined when there is none, or none that a client could make use of: unreadable, or its NAR is not here. */
  async find(hashPart: HashPart): Promise<ServedNarInfo | undefined> {
    const version = this.#watch.version();
    const currentVersion = typeof version === 'number' ? version : await version;
    const entry = this.#entries.get(hashPart);
    if (entry?.version === currentVersion) return entry;
    const running = this.#loading.get(hashPart);
    if (running !== undefined) return running;
    const loading = this.#load(hashPart, currentVersion, entry).finally(() => this.#loading.delete(hashPart));
    this.#loading.set(hashPart, loading);
    return loading;
  }

  async #load(hashPart: HashPart, version: number, known: CacheEntry | undefined): Promise<ServedNarInfo | undefined> {
    const entry = await this.#read(hashPart, version, known);
    if (entry === undefined) this.#entries.delete(hashPart);
    else this.#entries.set(ownText(hashPart), entry, entry.answer.length + ENTRY_OVERHEAD_BYTES);
    return entry;
  }

  async #read(hashPart: HashPart, version: number, known: CacheEntry | undefined): Promise<CacheEntry | undefined> {
    const name = narInfoName(hashPart);
    const bytes = await this.#readBytes(name);
    if (bytes === undefined) return undefined;
    const etag = etagOfBytes(bytes);
    const same = known?.etag === etag ? known : undefined;
    const nar = same?.nar ?? this.#parse(hashPart, name, bytes);
    if (nar === undefined || !(await this.#narIsHere(name, nar))) return undefined;
    return { etag, answer: same?.answer ?? formatNarInfoAnswer(bytes, etag), version, nar };
  }

  async #readBytes(name: string): Promise<Buffer | undefined> {
    try {
      return await this.#files.read(name);
    } catch (error) {
      if (!(error instanceof NixferryError)) throw error;
      this.#log.error({ name, err: error }, 'narinfo cannot be served');
      return undefined;
    }
  }

  #parse(hashPart: HashPart, name: string, bytes: Buffer): NarFile | undefined {
    try {
      if (bytes.length > LIMITS.narInfoBytes) throw new NixferryError('damage', `it has ${bytes.length} bytes`);
      const info = parseNarInfo(bytes, this.#storeDir);
      if (info.storePath.startsWith(`${this.#storeDir}/${hashPart}-`)) return narFile(info);
      this.#log.error({ name, storePath: info.storePath }, 'narinfo is that of another path');
    } catch (error) {
      if (!(error instanceof NixFormatError || error instanceof NixferryError)) throw error;
      this.#log.error({ name, err: error }, 'narinfo cannot be served');
    }
    return undefined;
  }

  async #narIsHere(name: string, nar: NarFile): Promise<boolean> {
    const stored = await this.#files.stat(nar.name);
    if (stored !== undefined && (nar.sizeBytes === undefined || nar.sizeBytes === stored.sizeBytes)) return true;
    this.#log.error(
      { name, nar: nar.name, expectedBytes: nar.sizeBytes, foundBytes: stored?.sizeBytes },
      'narinfo is withheld: its NAR is not here, or not whole',
    );
    return false;
  }
}

interface NarFile {
  readonly name: string;
  readonly sizeBytes: number | undefined;
}

interface CacheEntry extends ServedNarInfo {
  readonly version: number;
  readonly nar: NarFile;
}

/** Roughly what an entry costs beside its text: key, place in the map, objects, the name of the NAR. */
export const ENTRY_OVERHEAD_BYTES = 512;

/** A text that was cut out of another keeps the whole of that in memory. */
export function ownText(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1');
}

function narFile(info: NarInfo): NarFile {
  return { name: ownText(info.url), sizeBytes: info.fileSizeBytes };
}
