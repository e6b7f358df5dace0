import { LIMITS } from '../base/limits.ts';
import { hashPartOf, type StorePath } from '../nix/store-path.ts';
import type { Downloads } from './downloads.ts';
import type { HeldPaths } from './held-paths.ts';
import type { Offers } from './offers.ts';

export interface LookAheadOptions {
  readonly offers: Pick<Offers, 'find'>;
  readonly downloads: Pick<Downloads, 'fetch'>;
  readonly held: Pick<HeldPaths, 'get'>;
  readonly isVisible: (path: StorePath) => Promise<boolean>;
  readonly signal: AbortSignal;
}

/** Fetches what fetched paths refer to, and what that refers to, before anybody asks: few at a time, behind the clients' backs. */
export class LookAhead {
  readonly #options: LookAheadOptions;
  readonly #waiting = new Set<StorePath>();
  #running = 0;

  constructor(options: LookAheadOptions) {
    this.#options = options;
  }

  /** What is beyond the bound is left to clients. */
  want(paths: readonly StorePath[]): void {
    for (const path of paths) if (this.#waiting.size < LIMITS.proxyLookAheadWaiting) this.#waiting.add(path);
    while (this.#running < LIMITS.proxyLookAheadAtOnce && this.#waiting.size > 0) void this.#work();
  }

  async #work(): Promise<void> {
    this.#running += 1;
    try {
      for (const path of this.#waiting) {
        this.#waiting.delete(path);
        if (this.#options.signal.aborted) return;
        await this.#fetch(path);
      }
    } catch {
      // Nobody asked for it; a client who does is told.
    } finally {
      this.#running -= 1;
    }
  }

  async #fetch(path: StorePath): Promise<void> {
    const { held, isVisible, offers, downloads } = this.#options;
    const isHeld = held.get(path);
    // Visible is complete: so is all that it refers to.
    if (isHeld === undefined && (await isVisible(path))) return;
    const offer = isHeld === undefined ? await offers.find(hashPartOf(path)) : undefined;
    if (offer !== undefined) await downloads.fetch(offer);
    const info = isHeld?.info ?? offer?.info;
    this.want((info?.references ?? []).filter((reference) => reference !== path));
  }
}
