import { LIMITS } from '../base/limits.ts';
import type { ProxyClient } from '../proxy/proxy-client.ts';
import { ByteCache } from './byte-cache.ts';
import { etagOfBytes } from './etag.ts';
import { formatNarInfoAnswer } from './express/express-answer.ts';
import { ENTRY_OVERHEAD_BYTES, type NarInfoCache, ownText, type ServedNarInfo } from './narinfo-cache.ts';

/**
 * All that clients may be told of paths: what the mirror has, and, where there are upstreams, what these have. The latter is kept in memory only as long as
 * the fetcher has not said that an upstream is gone.
 */
export class OfferedNarInfos {
  readonly #narInfos: Pick<NarInfoCache, 'atHand' | 'find'>;
  readonly #proxy: ProxyClient | undefined;
  readonly #maxBytes: number;
  readonly #now: () => number;
  #offers: ByteCache<Offered>;
  /** Counts how often an upstream was lost: what was asked for before is not to be kept after. */
  #losses = 0;

  constructor(
    narInfos: Pick<NarInfoCache, 'atHand' | 'find'>,
    proxy: ProxyClient | undefined,
    { maxBytes, now = () => performance.now() }: { readonly maxBytes: number; readonly now?: () => number },
  ) {
    this.#narInfos = narInfos;
    this.#proxy = proxy;
    this.#maxBytes = maxBytes;
    this.#now = now;
    this.#offers = new ByteCache(maxBytes);
    proxy?.onOffersLost(() => {
      this.#losses += 1;
      this.#offers = new ByteCache(this.#maxBytes);
    });
  }

  /** As of the mirror, and otherwise what an upstream was heard to have moments ago. */
  atHand(text: string): ServedNarInfo | undefined {
    const held = this.#narInfos.atHand(text);
    if (held !== undefined || this.#proxy === undefined) return held;
    const offered = this.#offers.get(text);
    return offered !== undefined && this.#now() < offered.untilMs ? offered : undefined;
  }

  /** As of the mirror alone: upstreams are not asked. */
  find: NarInfoCache['find'] = (hashPart) => this.#narInfos.find(hashPart);

  /** What the upstreams have. */
  async ask(hashPart: string): Promise<ServedNarInfo | undefined> {
    const losses = this.#losses;
    const bytes = await this.#proxy?.narInfo(hashPart);
    if (bytes === undefined) return undefined;
    const etag = etagOfBytes(bytes);
    const answer = formatNarInfoAnswer(bytes, etag);
    const offered = { etag, answer, untilMs: this.#now() + LIMITS.servedOfferMs };
    if (losses === this.#losses) this.#offers.set(ownText(hashPart), offered, answer.length + ENTRY_OVERHEAD_BYTES);
    return offered;
  }
}

interface Offered extends ServedNarInfo {
  readonly untilMs: number;
}
