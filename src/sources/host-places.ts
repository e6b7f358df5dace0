import { Semaphore } from '../base/concurrency.ts';
import { LIMITS } from '../base/limits.ts';

/** Keeps us polite: a few transfers at a time from each host, however many run in all. */
export class HostPlaces {
  readonly #hosts = new Map<string, Semaphore>();

  use<Result>(url: URL, work: () => Promise<Result>, signal: AbortSignal): Promise<Result> {
    let places = this.#hosts.get(url.host);
    if (places === undefined) {
      places = new Semaphore(LIMITS.sourceTransfersPerHost);
      this.#hosts.set(url.host, places);
    }
    return places.use(work, signal);
  }
}
