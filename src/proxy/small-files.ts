import { Semaphore } from '../base/concurrency.ts';
import { LIMITS } from '../base/limits.ts';
import type { NamedRealisation } from '../mirror/publish-realisations.ts';
import { NixFormatError } from '../nix/format-error.ts';
import {
  formatRealisation,
  parseRealisation,
  parseRealisationPath,
  signRealisation,
  trustedRealisationSignature,
} from '../nix/realisation.ts';
import type { AbsentPaths } from './absent-paths.ts';
import type { OfferTerms } from './offer.ts';
import type { Offers } from './offers.ts';
import { UpstreamDown } from './upstream-line.ts';

export interface SmallFilesOptions {
  readonly offers: Offers;
  readonly terms: OfferTerms;
  readonly absent: AbsentPaths;
  /** A trusted key has signed it: it is worth keeping. */
  readonly onRealisation: (one: NamedRealisation & { readonly sizeBytes: number }) => void;
}

/** Build logs, realisations, listings and the like: passed on from the first upstream that has one, whole, within a bound; not kept here. */
export class SmallFiles {
  readonly #offers: Offers;
  readonly #terms: OfferTerms;
  readonly #absent: AbsentPaths;
  readonly #onRealisation: SmallFilesOptions['onRealisation'];
  readonly #asking = new Map<string, Promise<Buffer | undefined>>();
  readonly #places = new Semaphore(LIMITS.proxyFilesAsked);

  constructor({ offers, terms, absent, onRealisation }: SmallFilesOptions) {
    this.#offers = offers;
    this.#terms = terms;
    this.#absent = absent;
    this.#onRealisation = onRealisation;
  }

  async find(name: string): Promise<Buffer | undefined> {
    if (this.#absent.has(name)) return undefined;
    const running = this.#asking.get(name);
    if (running !== undefined) return running;
    if (this.#asking.size >= LIMITS.proxyPathsAsked) return undefined;
    const asking = this.#places.use(() => this.#ask(name)).finally(() => this.#asking.delete(name));
    this.#asking.set(name, asking);
    return asking;
  }

  async #ask(name: string): Promise<Buffer | undefined> {
    const { lines } = this.#offers;
    let everybodySaid = true;
    for (const line of lines) {
      try {
        const bytes = await line.ask((upstream, signal) => {
          return upstream.file(name, { maxBytes: LIMITS.proxySmallFileBytes, signal });
        });
        const told = bytes === undefined ? undefined : this.#asTold(name, bytes);
        if (told !== undefined) return told;
      } catch (error) {
        everybodySaid = false;
        if (!(error instanceof Error)) throw error;
        if (!(error instanceof UpstreamDown)) continue;
      }
    }
    if (everybodySaid && lines.length > 0) this.#absent.add(name);
    return undefined;
  }

  /** A realisation says which path to take for an output: like a narinfo it needs a trusted signature, and gets ours beside it. */
  #asTold(name: string, bytes: Buffer): Buffer | undefined {
    if (!/^(?:realisations|build-trace-v\d+)\//.test(name)) return bytes;
    const key = parseRealisationPath(name);
    const { trustedKeys, signingKeys } = this.#terms;
    // A layout that is newer than we are: what we cannot check, clients check.
    if (key === undefined) return bytes;
    try {
      const realisation = parseRealisation(bytes, key);
      if (trustedRealisationSignature(realisation, trustedKeys) === undefined) return undefined;
      if (bytes.length <= LIMITS.realisationBytes) {
        this.#onRealisation({ name, realisation, sizeBytes: bytes.length });
      }
      if (signingKeys.length === 0) return bytes;
      return Buffer.from(formatRealisation(signingKeys.reduce(signRealisation, realisation)));
    } catch (error) {
      if (error instanceof NixFormatError) return undefined;
      throw error;
    }
  }
}
