import { LIMITS } from '../limits.ts';

export interface RetryPolicy {
  /** How often one request is made at most, the first time included. */
  readonly attempts: number;
  readonly baseMs: number;
  readonly ceilingMs: number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

export const DEFAULT_RETRY_POLICY: RetryPolicy = {
  attempts: LIMITS.httpAttempts,
  baseMs: LIMITS.retryBaseMs,
  ceilingMs: LIMITS.retryCeilingMs,
  random: Math.random,
};

/**
 * Whether a server that answers `status` may answer otherwise later: the same choice as Nix makes (filetransfer.cc).
 * 501, 505 and 511 are verdicts that waiting does not change.
 */
export function isRetryableStatus(status: number): boolean {
  if (status === 408 || status === 429) return true;
  return status >= 500 && status <= 599 && status !== 501 && status !== 505 && status !== 511;
}

/**
 * How long to wait after attempt number `attempt` (counted from 1) has failed. Doubles each time, and half of it is
 * left to chance, so that hundreds of requests that failed together do not come back together. What the server asks
 * for by Retry-After is kept, up to the ceiling, and chance then only adds.
 */
export function retryDelayMs(policy: RetryPolicy, attempt: number, retryAfterMs?: number): number {
  const backoffMs = Math.min(policy.ceilingMs, policy.baseMs * 2 ** (attempt - 1));
  if (retryAfterMs !== undefined) {
    return Math.min(policy.ceilingMs, retryAfterMs) + policy.random() * Math.min(backoffMs, policy.baseMs);
  }
  return backoffMs / 2 + (policy.random() * backoffMs) / 2;
}

/** The value of a Retry-After header in milliseconds from `wallClockMs` on: seconds or an HTTP date (RFC 9110, 10.2.3). */
export function parseRetryAfter(value: string | undefined, wallClockMs: number): number | undefined {
  if (value === undefined) return undefined;
  const text = value.trim();
  if (/^\d{1,15}$/.test(text)) return Number(text) * 1000;
  // All three date forms of HTTP begin with the name of a day; Date.parse alone would take nearly anything.
  if (!/^(?:mon|tue|wed|thu|fri|sat|sun)/i.test(text)) return undefined;
  const dateMs = Date.parse(text);
  return Number.isNaN(dateMs) ? undefined : Math.max(0, dateMs - wallClockMs);
}
