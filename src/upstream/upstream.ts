// Reading other binary caches: over HTTP or from a folder, one or several in order, and lists of store paths.
// Nothing here knows of mirrors; what is read is checked for form only, whether to trust it is the caller's to decide.

import { NixferryError } from '../base/errors.ts';
import type { HttpClient } from '../base/http-client.ts';
import type { CacheInfo, HashPart, NarInfo } from '../nix/index.ts';
import { openFileUpstream } from './file-upstream.ts';
import { openHttpUpstream } from './http-upstream.ts';
import type { Transfer } from './unbroken-transfer.ts';

export interface NarOptions {
  /** First byte wanted of the file as it is stored; default 0. */
  readonly offset?: number;
  readonly signal?: AbortSignal;
}

export interface FileOptions {
  readonly maxBytes: number;
  readonly signal?: AbortSignal;
}

/** A binary cache that we copy from. Every method rejects with the signal's reason on abort. */
export interface Upstream {
  /** For messages: without credentials. */
  readonly url: string;
  readonly cacheInfo: CacheInfo;
  /**
   * Undefined when the cache does not have the path. Throws HttpError when it cannot be asked, `upstream-incomplete`
   * when what it says is no narinfo, or one of another path.
   */
  narInfo(hashPart: HashPart, signal?: AbortSignal): Promise<NarInfo | undefined>;
  /**
   * Opens the file of a NAR as it is stored, compressed. The stream begins at the offset that comes with it: the one
   * asked for, or 0 when the cache cannot begin in the middle. When the transfer breaks the stream throws an error for
   * which `isBrokenTransfer` holds; `openUnbrokenNar` goes on by itself.
   */
  nar(info: NarInfo, options?: NarOptions): Promise<Transfer>;
  /** A small file beside the narinfos (`log/…`, `realisations/…`, `HASH.ls`), decoded; undefined when there is none. */
  file(name: string, options: FileOptions): Promise<Buffer | undefined>;
  close(): Promise<void>;
}

export interface OpenUpstreamOptions {
  readonly http: HttpClient;
  /** The store folder that the cache must be for. */
  readonly storeDir?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Opens a cache by its address, `https://…`, `http://…` or `file:///…`; Nix's store parameters (`?priority=…`) are
 * ignored. Throws `upstream-unreachable` when nobody answers or what answers is no cache, `store-dir-mismatch`, and
 * `usage` for another kind of address.
 */
export async function openUpstream(address: string, options: OpenUpstreamOptions): Promise<Upstream> {
  const url = URL.parse(address);
  const upstream = await openByProtocol(url, options);
  const { storeDir } = upstream.cacheInfo;
  if (options.storeDir === undefined || options.storeDir === storeDir) return upstream;
  await upstream.close();
  throw storeDirMismatch(upstream, options.storeDir);
}

export function storeDirMismatch(upstream: Upstream, expected: string): NixferryError {
  const message = `${upstream.url}: its paths live in ${upstream.cacheInfo.storeDir}, not in ${expected}`;
  return new NixferryError('store-dir-mismatch', message, {
    hint: 'leave this upstream out, or use a mirror of its own for it',
  });
}

async function openByProtocol(url: URL | null, options: OpenUpstreamOptions): Promise<Upstream> {
  switch (url?.protocol) {
    case 'https:':
    case 'http:':
      return openHttpUpstream(url, options);
    case 'file:':
      return openFileUpstream(url, options);
    default:
      throw new NixferryError('usage', 'an upstream is given by an address of another kind than Nixferry reads', {
        hint: 'write https://HOST, http://HOST or file:///FOLDER',
      });
  }
}
