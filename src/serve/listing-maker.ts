import { asCompression } from '../base/compression/compression.ts';
import { decompressStream } from '../base/compression/decompress-stream.ts';
import { Semaphore } from '../base/concurrency.ts';
import { NixferryError, systemErrorCode } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { NixFormatError } from '../nix/format-error.ts';
import { formatNarListing, narListing } from '../nix/nar-listing.ts';
import { type NarInfo, parseNarInfo } from '../nix/narinfo.ts';
import { ByteCache } from './byte-cache.ts';
import { etagOfBytes } from './etag.ts';
import { narInfoOfAnswer } from './express/express-answer.ts';
import { WrongBytes } from './held-back.ts';
import { LOCAL_NAR_PREFIX } from './local-store.ts';
import type { ServedNarInfo } from './narinfo-cache.ts';
import type { ServeContext } from './serve-context.ts';

export interface Listing {
  readonly bytes: Buffer;
  readonly etag: string;
}

interface NarBytes {
  chunks(): AsyncIterable<Uint8Array>;
  close(): void;
}

/** Makes listings of NARs when they are asked for; few at a time, since each means to decompress a whole NAR. */
export class ListingMaker {
  readonly #context: Pick<ServeContext, 'files' | 'localStore' | 'storeDir' | 'log' | 'stopping'>;
  readonly #made = new ByteCache<Listing>(LIMITS.servedListingCacheBytes);
  readonly #making = new Map<string, Promise<Listing | undefined>>();
  readonly #places = new Semaphore(LIMITS.listingsAtOnce);

  constructor(context: Pick<ServeContext, 'files' | 'localStore' | 'storeDir' | 'log' | 'stopping'>) {
    this.#context = context;
  }

  /** Undefined when the NAR is too large for this, in a compression that we do not know, damaged, or gone. */
  async make(narInfo: ServedNarInfo): Promise<Listing | 'busy' | undefined> {
    const info = parseNarInfo(narInfoOfAnswer(narInfo.answer), this.#context.storeDir);
    const known = this.#made.get(info.narHash) ?? this.#making.get(info.narHash);
    if (known !== undefined) return known;
    if (info.narSizeBytes > LIMITS.listingNarBytes) return undefined;
    if (this.#making.size >= LIMITS.listingsWaiting) return 'busy';
    const making = this.#places
      .use(() => this.#read(info), this.#context.stopping)
      .finally(() => this.#making.delete(info.narHash));
    this.#making.set(info.narHash, making);
    return making;
  }

  async #read(info: NarInfo): Promise<Listing | undefined> {
    const compression = asCompression(info.compression);
    if (compression === undefined) return undefined;
    const { stopping, log } = this.#context;
    const opened = await this.#open(info);
    if (opened === undefined) return undefined;
    try {
      const nar = decompressStream(compression, opened.chunks(), { maxBytes: info.narSizeBytes, signal: stopping });
      const bytes = Buffer.from(formatNarListing(await narListing(nar)));
      const listing = { bytes, etag: etagOfBytes(bytes) };
      this.#made.set(info.narHash, listing, bytes.length);
      return listing;
    } catch (error) {
      const isKnown = error instanceof NixferryError || error instanceof NixFormatError || error instanceof WrongBytes;
      // What is in the local store may be collected as garbage while it is read.
      if (!isKnown && systemErrorCode(error) !== 'ENOENT') throw error;
      log.error({ nar: info.url, err: error }, 'listing could not be made');
      return undefined;
    } finally {
      opened.close();
    }
  }

  async #open(info: NarInfo): Promise<NarBytes | undefined> {
    const { files, localStore } = this.#context;
    if (localStore === undefined || !info.url.startsWith(LOCAL_NAR_PREFIX)) return files.open(info.url);
    const nar = await localStore.openNar(info.url.slice(LOCAL_NAR_PREFIX.length));
    return nar && { chunks: () => nar.read(0, info.narSizeBytes - 1), close: () => {} };
  }
}
