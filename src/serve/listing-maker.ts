import { asCompression } from '../base/compression/compression.ts';
import { decompressStream } from '../base/compression/decompress-stream.ts';
import { Semaphore } from '../base/concurrency.ts';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { NixFormatError } from '../nix/format-error.ts';
import { formatNarListing, narListing } from '../nix/nar-listing.ts';
import { type NarInfo, parseNarInfo } from '../nix/narinfo.ts';
import { ByteCache } from './byte-cache.ts';
import { etagOfBytes } from './etag.ts';
import { narInfoOfAnswer } from './express/express-answer.ts';
import type { ServedNarInfo } from './narinfo-cache.ts';
import type { ServeContext } from './serve-context.ts';

export interface Listing {
  readonly bytes: Buffer;
  readonly etag: string;
}

/** Makes listings of NARs when they are asked for; few at a time, since each means to decompress a whole NAR. */
export class ListingMaker {
  readonly #context: Pick<ServeContext, 'files' | 'storeDir' | 'log' | 'stopping'>;
  readonly #made = new ByteCache<Listing>(LIMITS.servedListingCacheBytes);
  readonly #making = new Map<string, Promise<Listing | undefined>>();
  readonly #places = new Semaphore(LIMITS.listingsAtOnce);

  constructor(context: Pick<ServeContext, 'files' | 'storeDir' | 'log' | 'stopping'>) {
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
    const { stopping, files, log } = this.#context;
    const opened = await files.open(info.url);
    if (opened === undefined) return undefined;
    try {
      const nar = decompressStream(compression, opened.chunks(), { maxBytes: info.narSizeBytes, signal: stopping });
      const bytes = Buffer.from(formatNarListing(await narListing(nar)));
      const listing = { bytes, etag: etagOfBytes(bytes) };
      this.#made.set(info.narHash, listing, bytes.length);
      return listing;
    } catch (error) {
      if (!(error instanceof NixferryError || error instanceof NixFormatError)) throw error;
      log.error({ nar: info.url, err: error }, 'listing could not be made');
      return undefined;
    } finally {
      opened.close();
    }
  }
}
