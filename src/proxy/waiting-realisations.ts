import { LIMITS } from '../base/limits.ts';
import type { NamedRealisation } from '../mirror/publish-realisations.ts';

/**
 * Realisations that were passed on to clients and are to be kept, until what they lead to is visible. In memory alone: of one that is lost, upstreams are
 * asked again. The oldest give way where they are too many.
 */
export class WaitingRealisations {
  readonly #waiting = new Map<string, NamedRealisation & { readonly sizeBytes: number }>();
  #sizeBytes = 0;

  add(one: NamedRealisation & { readonly sizeBytes: number }): void {
    this.remove(one.name);
    this.#waiting.set(one.name, one);
    this.#sizeBytes += one.sizeBytes;
    for (const name of this.#waiting.keys()) {
      if (this.#sizeBytes <= LIMITS.proxyRealisationsBytes) break;
      this.remove(name);
    }
  }

  all(): readonly NamedRealisation[] {
    return [...this.#waiting.values()];
  }

  remove(name: string): void {
    this.#sizeBytes -= this.#waiting.get(name)?.sizeBytes ?? 0;
    this.#waiting.delete(name);
  }
}
