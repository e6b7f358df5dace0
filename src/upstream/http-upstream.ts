import { NixferryError } from '../base/errors.ts';
import { showUrl } from '../base/http/shown-url.ts';
import type { HttpClient } from '../base/http-client.ts';
import { LIMITS } from '../base/limits.ts';
import { type CacheInfo, type HashPart, isHashPart, type NarInfo } from '../nix/index.ts';
import { isSafeName } from './contained-path.ts';
import { openHttpTransfer } from './http-transfer.ts';
import { readCacheInfo } from './read-cache-info.ts';
import { readNarInfo } from './read-narinfo.ts';
import type { Transfer } from './unbroken-transfer.ts';
import type { FileOptions, NarOptions, OpenUpstreamOptions, Upstream } from './upstream.ts';

/** Opens a cache over HTTP. Nothing is kept open but what the HTTP client keeps. */
export async function openHttpUpstream(address: URL, { http, signal }: OpenUpstreamOptions): Promise<Upstream> {
  const root = cacheRoot(address);
  const cacheInfo = await fetchCacheInfo(root, http, signal);
  return new HttpUpstream(root, cacheInfo, http);
}

/**
 * Where a narinfo's `URL` points: what is relative counts from the cache's own address including its path, queries stay, and
 * an absolute address may lead to another host, as in Nix, but not away from HTTP. Credentials in the cache's address
 * stay with its origin.
 */
export function resolveNarUrl(root: URL, narUrl: string): URL {
  const resolved = URL.parse(narUrl, root.href);
  if (resolved === null || (resolved.protocol !== 'http:' && resolved.protocol !== 'https:')) {
    throw new NixferryError('upstream-incomplete', `${showUrl(root)}: a narinfo's URL leads away from HTTP`, {
      hint: 'tell who runs this cache',
    });
  }
  resolved.hash = '';
  if (resolved.origin === root.origin && resolved.username === '') {
    resolved.username = root.username;
    resolved.password = root.password;
  }
  return resolved;
}

class HttpUpstream implements Upstream {
  readonly url: string;
  readonly cacheInfo: CacheInfo;
  readonly #root: URL;
  readonly #http: HttpClient;

  constructor(root: URL, cacheInfo: CacheInfo, http: HttpClient) {
    this.url = showUrl(root).replace(/\/$/, '');
    this.cacheInfo = cacheInfo;
    this.#root = root;
    this.#http = http;
  }

  async narInfo(hashPart: HashPart, signal?: AbortSignal): Promise<NarInfo | undefined> {
    if (!isHashPart(hashPart)) throw new TypeError('not the hash part of a store path');
    const name = `${hashPart}.narinfo`;
    const bytes = await this.#small(name, {
      maxBytes: LIMITS.narInfoBytes,
      bodyTimeoutMs: LIMITS.narInfoTotalMs,
      ...(signal === undefined ? {} : { signal }),
    });
    if (bytes === undefined) return undefined;
    return readNarInfo(bytes, hashPart, this.cacheInfo.storeDir, `${this.url}/${name}`);
  }

  async nar(info: NarInfo, { offset = 0, signal }: NarOptions = {}): Promise<Transfer> {
    const url = resolveNarUrl(this.#root, info.url);
    const decodedBytesMax = info.fileSizeBytes ?? info.narSizeBytes + COMPRESSION_SLACK_BYTES;
    return openHttpTransfer(this.#http, url, { offset, decodedBytesMax, signal });
  }

  file(name: string, options: FileOptions): Promise<Buffer | undefined> {
    if (!isSafeName(name)) throw new TypeError('not a name within a cache');
    return this.#small(name, options);
  }

  async close(): Promise<void> {}

  async #small(name: string, options: FileOptions & { bodyTimeoutMs?: number }): Promise<Buffer | undefined> {
    // `!` and `:` in realisations' names are sent as they are, as Nix does; only what would end the path is escaped.
    const escaped = name.replaceAll(/[%?#]/g, (character) => encodeURIComponent(character));
    const url = new URL(`./${escaped}`, this.#root);
    const { status, bytes } = await this.#http.getBytes(url, { ...options, accept: ABSENT });
    return status === 200 ? bytes : undefined;
  }
}

// 403 is what object stores answer for missing files to those who must not list them; Nix takes it so, too.
const ABSENT: readonly number[] = [403, 404, 410];

function cacheRoot(address: URL): URL {
  const root = new URL(address);
  root.search = '';
  root.hash = '';
  if (!root.pathname.endsWith('/')) root.pathname += '/';
  return root;
}

// What does not compress is a little larger compressed.
const COMPRESSION_SLACK_BYTES = 16 * 1024 * 1024;

async function fetchCacheInfo(root: URL, http: HttpClient, signal: AbortSignal | undefined): Promise<CacheInfo> {
  const url = new URL('nix-cache-info', root);
  const { status, bytes } = await http.getBytes(url, {
    maxBytes: LIMITS.cacheInfoBytes,
    accept: ABSENT,
    ...(signal === undefined ? {} : { signal }),
  });
  return readCacheInfo(status === 200 ? bytes : undefined, showUrl(root));
}
