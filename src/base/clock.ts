import { setTimeout as sleep } from 'node:timers/promises';

/** Time as a collaborator, so that tests of back-off and of waiting need not wait. */
export interface Clock {
  /** Milliseconds that never run backwards; only differences mean anything. */
  nowMs(): number;
  /** Milliseconds since 1970, for comparing with dates from outside. */
  wallClockMs(): number;
  /** Rejects with the signal's reason when it fires. */
  sleep(durationMs: number, signal?: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  wallClockMs: () => Date.now(),
  async sleep(durationMs, signal) {
    try {
      await sleep(durationMs, undefined, signal === undefined ? {} : { signal });
    } catch (error) {
      // timers/promises wraps the reason in an AbortError of its own.
      signal?.throwIfAborted();
      throw error;
    }
  },
};
