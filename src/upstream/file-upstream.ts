import { constants } from 'node:fs';
import { open, realpath, stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { NixferryError, systemErrorCode } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { type CacheInfo, type HashPart, isHashPart, type NarInfo, quoteForMessage } from '../nix/index.ts';
import { containedPath } from './contained-path.ts';
import { readCacheInfo } from './read-cache-info.ts';
import { readNarInfo } from './read-narinfo.ts';
import type { Transfer } from './unbroken-transfer.ts';
import type { FileOptions, NarOptions, OpenUpstreamOptions, Upstream } from './upstream.ts';

/** Opens a cache in a folder of this machine, by a `file:` address. */
export async function openFileUpstream(address: URL, { signal }: OpenUpstreamOptions): Promise<Upstream> {
  const root = await realFolder(address);
  const url = `file://${root}`;
  const bytes = await new CacheFolder(root, url).read('nix-cache-info', { maxBytes: LIMITS.cacheInfoBytes });
  signal?.throwIfAborted();
  return new FileUpstream(root, url, readCacheInfo(bytes, url));
}

class FileUpstream implements Upstream {
  readonly url: string;
  readonly cacheInfo: CacheInfo;
  readonly #folder: CacheFolder;

  constructor(root: string, url: string, cacheInfo: CacheInfo) {
    this.url = url;
    this.cacheInfo = cacheInfo;
    this.#folder = new CacheFolder(root, url);
  }

  async narInfo(hashPart: HashPart, signal?: AbortSignal): Promise<NarInfo | undefined> {
    if (!isHashPart(hashPart)) throw new TypeError('not the hash part of a store path');
    signal?.throwIfAborted();
    const name = `${hashPart}.narinfo`;
    const bytes = await this.#folder.read(name, { maxBytes: LIMITS.narInfoBytes });
    if (bytes === undefined) {
      // An unplugged medium has no file at all, and must not look like a cache without this path.
      if ((await this.#folder.find('nix-cache-info')) === undefined) throw gone(this.url);
      return undefined;
    }
    return readNarInfo(bytes, hashPart, this.cacheInfo.storeDir, `${this.url}/${name}`);
  }

  async nar(info: NarInfo, { offset = 0, signal }: NarOptions = {}): Promise<Transfer> {
    signal?.throwIfAborted();
    // As Nix does with a folder, the URL is taken for the name of a file in it, whatever it looks like.
    const file = await this.#folder.find(info.url);
    if (file === undefined) throw missing(this.url, info.url);
    const start = offset <= file.sizeBytes ? offset : 0;
    return { stream: this.#folder.readFrom(info.url, file, start, signal), offset: start, totalBytes: file.sizeBytes };
  }

  async file(name: string, { maxBytes, signal }: FileOptions): Promise<Buffer | undefined> {
    signal?.throwIfAborted();
    return this.#folder.read(name, { maxBytes });
  }

  async close(): Promise<void> {}
}

/** The regular files below one folder. */
class CacheFolder {
  readonly #root: string;
  readonly #url: string;

  constructor(root: string, url: string) {
    this.#root = root;
    this.#url = url;
  }

  /** Undefined when there is no such file; throws `upstream-incomplete` for what is no regular file of this folder. */
  async find(name: string): Promise<FoundFile | undefined> {
    const path = await this.#contained(name);
    if (path === undefined) return undefined;
    const status = await stat(path).catch((error: unknown) => this.#fail(name, error));
    if (!status.isFile()) throw this.#unusable(name, 'is no regular file');
    return { path, sizeBytes: status.size };
  }

  async read(name: string, { maxBytes }: { readonly maxBytes: number }): Promise<Buffer | undefined> {
    const file = await this.find(name);
    if (file === undefined) return undefined;
    if (file.sizeBytes > maxBytes) throw this.#unusable(name, `is larger than ${maxBytes} bytes`);
    const chunks = await Array.fromAsync(this.readFrom(name, file, 0));
    return Buffer.concat(chunks);
  }

  /** Opens the file only when it is read, so that nothing stays open when it never is. Ends where the file ended when found. */
  async *readFrom(
    name: string,
    { path, sizeBytes }: FoundFile,
    start: number,
    signal?: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    if (start >= sizeBytes) return;
    // O_NONBLOCK: should a named pipe have taken the file's place meanwhile, opening it must not wait for ever.
    const flags = constants.O_RDONLY | constants.O_NONBLOCK;
    const handle = await open(path, flags).catch((error: unknown) => this.#fail(name, error));
    const stream = handle.createReadStream({ start, end: sizeBytes - 1, highWaterMark: READ_BYTES, signal });
    try {
      yield* stream;
    } catch (error) {
      signal?.throwIfAborted();
      this.#fail(name, error);
    }
  }

  async #contained(name: string): Promise<string | undefined> {
    try {
      return await containedPath(this.#root, name);
    } catch (error) {
      if (error instanceof RangeError) throw this.#unusable(name, error.message);
      return this.#fail(name, error);
    }
  }

  #fail(name: string, error: unknown): never {
    const code = systemErrorCode(error);
    if (code === undefined) throw error;
    throw this.#unusable(name, `cannot be read (${code})`, error);
  }

  #unusable(name: string, what: string, cause?: unknown): NixferryError {
    return new NixferryError('upstream-incomplete', `${this.#url}: ${quoteForMessage(name)} ${what}`, {
      hint: 'check the medium, or tell who made this cache',
      cause,
    });
  }
}

interface FoundFile {
  readonly path: string;
  readonly sizeBytes: number;
}

function missing(url: string, name: string): NixferryError {
  return new NixferryError(
    'upstream-incomplete',
    `${url}: the narinfo is there, but not its file ${quoteForMessage(name)}`,
    {
      hint: 'tell who made this cache, or name another upstream',
    },
  );
}

function gone(url: string): NixferryError {
  return new NixferryError('upstream-unreachable', `${url}: the cache is no longer there`, {
    hint: 'see that the medium is mounted',
  });
}

async function realFolder(address: URL): Promise<string> {
  const bare = new URL(address);
  bare.search = '';
  bare.hash = '';
  try {
    const folder = await realpath(fileURLToPath(bare));
    if ((await stat(folder)).isDirectory()) return folder;
    throw unreachable(bare, 'that is no folder');
  } catch (error) {
    if (error instanceof NixferryError) throw error;
    const code = systemErrorCode(error);
    if (code === 'ERR_INVALID_FILE_URL_HOST')
      throw unreachable(bare, 'names a host; a folder needs three slashes', error);
    if (code === 'ENOENT' || code === 'ENOTDIR') throw unreachable(bare, 'there is no such folder', error);
    throw unreachable(bare, `the folder cannot be read (${code ?? 'bad address'})`, error);
  }
}

function unreachable(address: URL, what: string, cause?: unknown): NixferryError {
  return new NixferryError('upstream-unreachable', `${address.href}: ${what}`, {
    hint: 'see that the address is right (file:///FOLDER), and that the medium is mounted',
    cause,
  });
}

const READ_BYTES = 256 * 1024;
