import type { Clock } from '../../src/base/clock.ts';

export interface InstantClock extends Clock {
  /** Every sleep asked for, in milliseconds. */
  readonly sleptMs: readonly number[];
  advance(durationMs: number): void;
}

/** A clock whose sleeps are over at once and move its time; it also moves a little whenever it is read. */
export function instantClock(): InstantClock {
  const sleptMs: number[] = [];
  let nowMs = 0;
  return {
    sleptMs,
    nowMs: () => (nowMs += 0.001),
    wallClockMs: () => Date.UTC(2026, 0, 1) + nowMs,
    async sleep(durationMs, signal) {
      signal?.throwIfAborted();
      sleptMs.push(durationMs);
      nowMs += durationMs;
    },
    advance(durationMs) {
      nowMs += durationMs;
    },
  };
}
