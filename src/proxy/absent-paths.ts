import type { Clock } from '../base/clock.ts';
import { LIMITS } from '../base/limits.ts';

/** What every upstream has just said not to have: remembered for moments, so that a rush of clients costs one question. Bounded. */
export class AbsentPaths {
  readonly #clock: Clock;
  readonly #untilMs = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  has(name: string): boolean {
    const untilMs = this.#untilMs.get(name);
    if (untilMs === undefined) return false;
    if (this.#clock.nowMs() < untilMs) return true;
    this.#untilMs.delete(name);
    return false;
  }

  add(name: string): void {
    // In the order in which they were added: the first is the oldest.
    const [oldest] = this.#untilMs.size >= LIMITS.proxyAbsentKept ? this.#untilMs.keys() : [];
    if (oldest !== undefined) this.#untilMs.delete(oldest);
    this.#untilMs.delete(name);
    this.#untilMs.set(name, this.#clock.nowMs() + LIMITS.proxyAbsentMs);
  }
}
