import type { Clock } from '../base/clock.ts';
import { Semaphore } from '../base/concurrency.ts';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { HashPart } from '../nix/store-path.ts';
import { AbsentPaths } from './absent-paths.ts';
import { findObjection, makeOffer, type OfferTerms } from './offer.ts';
import type { OfferTable, RememberedOffer } from './offer-table.ts';
import type { OnceLog } from './once-log.ts';
import { UpstreamDown, type UpstreamLine } from './upstream-line.ts';

export interface OffersOptions {
  readonly lines: readonly UpstreamLine[];
  readonly terms: OfferTerms;
  readonly table: OfferTable;
  readonly clock: Clock;
  readonly log: OnceLog;
}

/** Which paths upstreams have: asked once however many clients ask, in the order of the upstreams, remembered for a while. */
export class Offers {
  readonly #options: OffersOptions;
  readonly #absent: AbsentPaths;
  /** What was told before may be signed by other keys than the mirror's present ones: it only serves to find NARs. */
  #freshFromMs: number;
  readonly #asking = new Map<HashPart, Promise<RememberedOffer | undefined>>();
  readonly #places = new Semaphore(LIMITS.narInfoRequestsInFlight);

  constructor(options: OffersOptions) {
    this.#options = options;
    this.#absent = new AbsentPaths(options.clock);
    this.#freshFromMs = options.clock.wallClockMs();
  }

  /** Those that live, or may; the one to be asked first in front. */
  get lines(): readonly UpstreamLine[] {
    const { lines } = this.#options;
    return lines.filter(({ isDown }) => !isDown).toSorted((a, b) => a.priority - b.priority);
  }

  line(url: string): UpstreamLine | undefined {
    return this.#options.lines.find((line) => line.url === url);
  }

  /** Undefined: no upstream that lives has the path, or can be trusted with it. */
  async find(hashPart: HashPart): Promise<RememberedOffer | undefined> {
    if (this.#absent.has(hashPart)) return undefined;
    const running = this.#asking.get(hashPart);
    if (running !== undefined) return running;
    const known = this.#options.table.get(hashPart);
    if (known !== undefined && this.#isFresh(known) && this.line(known.upstream)?.isUp === true) return known;
    // Many at once from one client are usual; what is beyond all measure is not there.
    if (this.#asking.size >= LIMITS.proxyPathsAsked) return undefined;
    const asking = this.#places.use(() => this.#ask(hashPart)).finally(() => this.#asking.delete(hashPart));
    this.#asking.set(hashPart, asking);
    return asking;
  }

  /** The offer by which a client knows the NAR, whether its upstream lives or not. */
  byNarName(name: string): RememberedOffer | undefined {
    return this.#options.table.byNarName(name);
  }

  /** What was offered turned out to be wrong: it is asked for anew. */
  forget(hashPart: HashPart): void {
    this.#options.table.forget(hashPart);
  }

  /** From the next upstream that has the very same file, for a NAR that could not be had where it was offered. */
  async elsewhere(offer: RememberedOffer, tried: ReadonlySet<string>): Promise<RememberedOffer | undefined> {
    for (const line of this.lines) {
      if (tried.has(line.url)) continue;
      const found = await this.#askOne(line, offer.hashPart).catch(() => undefined);
      if (found?.narName === offer.narName) return found;
    }
    return undefined;
  }

  async #ask(hashPart: HashPart): Promise<RememberedOffer | undefined> {
    const { table, lines, log } = this.#options;
    let everybodySaid = lines.every(({ isDown }) => !isDown);
    for (const line of this.lines) {
      try {
        const offer = await this.#askOne(line, hashPart);
        if (offer === undefined) continue;
        table.put(offer);
        return offer;
      } catch (error) {
        everybodySaid = false;
        if (error instanceof UpstreamDown || !(error instanceof Error)) continue;
        const reason = error instanceof NixferryError ? error.message : error.name;
        if (reason !== 'TimeoutError') log.error(line.url, { upstream: line.url, reason }, 'no answer');
      }
    }
    if (everybodySaid) this.#absent.add(hashPart);
    return undefined;
  }

  async #askOne(line: UpstreamLine, hashPart: HashPart): Promise<RememberedOffer | undefined> {
    const { terms, clock, log } = this.#options;
    const info = await line.ask((upstream, signal) => upstream.narInfo(hashPart, signal));
    if (info === undefined) return undefined;
    const objection = findObjection(info, terms);
    if (objection !== undefined) {
      line.refused(info.storePath, objection);
      log.warn(
        info.storePath,
        { upstream: line.url, path: info.storePath, reason: objection, next: REFUSED_HINT },
        'not passed on',
      );
      return undefined;
    }
    return { ...makeOffer(info, line.url, terms), seenMs: clock.wallClockMs() };
  }

  /** What was told before is told anew when it is asked for: the keys of the mirror have changed. */
  renew(): void {
    this.#freshFromMs = this.#options.clock.wallClockMs();
  }

  #isFresh({ seenMs }: RememberedOffer): boolean {
    if (seenMs < this.#freshFromMs) return false;
    const ageMs = this.#options.clock.wallClockMs() - seenMs;
    return ageMs >= 0 && ageMs < LIMITS.proxyOfferFreshMs;
  }
}

const REFUSED_HINT =
  'if the upstream is to be trusted for it, give its public key: serve --trusted-public-key NAME:KEY, or nixferry keys trust --for upstream';
