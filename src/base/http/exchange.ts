import type { Dispatcher } from 'undici';
import type { Clock } from '../clock.ts';
import { NixferryError } from '../errors.ts';
import { GuardedBody } from './guarded-body.ts';
import type { HostHealth, HostVisit } from './host-health.ts';
import { explainBodyError, explainTransportError, HttpError, type TransportFailure } from './http-error.ts';
import { isRetryableStatus, parseRetryAfter, type RetryPolicy, retryDelayMs } from './retry-policy.ts';
import type { Transport } from './transport.ts';

/** Header names in lower case; a header that came several times is joined by commas. */
export type HttpHeaders = Readonly<Record<string, string | undefined>>;

export interface HttpResponse {
  readonly status: number;
  readonly headers: HttpHeaders;
  /** Must be read to its end, left by leaving its loop, or cancelled. */
  readonly body: GuardedBody;
  /** Where the answer came from, after redirects; may hold credentials, so show it by `showUrl`. */
  readonly url: URL;
}

export interface ExchangeRequest {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly isBulk: boolean;
  readonly signal: AbortSignal | undefined;
  /** For the body, in total; undefined where only a stall ends it. */
  readonly bodyTimeoutMs: number | undefined;
}

export interface ExchangeTools {
  readonly transport: Transport;
  readonly health: HostHealth;
  readonly clock: Clock;
  readonly retries: RetryPolicy;
  readonly stallTimeoutMs: number;
}

/**
 * One request to one host, repeated as the policy says while the answer is one that time may change, or does not come.
 * Gives the answer whatever its status, the last one, if all were of the repeatable kind; redirects are the caller's.
 * Throws HttpErrors, and the signal's reason on abort.
 */
export async function exchange(request: ExchangeRequest, tools: ExchangeTools): Promise<HttpResponse> {
  const { url, signal } = request;
  const { clock, retries } = tools;
  const visit = await tools.health.visit(url.origin, signal);
  try {
    for (let attempt = 1; ; attempt++) {
      const isLast = attempt >= retries.attempts;
      const outcome = await attemptOnce(request, tools, visit, isLast);
      if ('error' in outcome) {
        if (isLast || !outcome.mayRepeat) throw outcome.error;
        await clock.sleep(retryDelayMs(retries, attempt), signal);
        continue;
      }
      if (!isRetryableStatus(outcome.status) || isLast) return outcome;
      outcome.body.drain();
      const retryAfterMs = parseRetryAfter(outcome.headers['retry-after'], clock.wallClockMs());
      const delayMs = retryDelayMs(retries, attempt, retryAfterMs);
      if (retryAfterMs !== undefined) visit.stayAway(delayMs);
      await clock.sleep(delayMs, signal);
    }
  } finally {
    visit.leave();
  }
}

interface AttemptFailure {
  readonly error: HttpError;
  readonly mayRepeat: boolean;
}

/** The answer's head with its guarded body, or why there is none. */
async function attemptOnce(
  request: ExchangeRequest,
  tools: ExchangeTools,
  visit: HostVisit,
  isLast: boolean,
): Promise<HttpResponse | AttemptFailure> {
  const { url, signal } = request;
  const { promise: toldDown, reject: tellDown } = Promise.withResolvers<never>();
  toldDown.catch(() => {});
  await visit.begin(signal, tellDown);
  const controller = new AbortController();
  const abort = (): void => {
    controller.abort(signal?.reason);
    tellDown(signal?.reason);
  };
  signal?.addEventListener('abort', abort, { once: true });
  const unlink = (): void => signal?.removeEventListener('abort', abort);
  try {
    const answer = tools.transport.get(url, { ...request, signal: controller.signal });
    answer.catch(() => {});
    const response = await Promise.race([answer, toldDown]);
    visit.answered();
    return guard(response, request, tools, visit, unlink);
  } catch (error) {
    unlink();
    controller.abort(error);
    signal?.throwIfAborted();
    // Settings that cannot work are no news about the host.
    if (error instanceof NixferryError && !(error instanceof HttpError)) throw error;
    return weigh(explainTransportError(error, url), visit, isLast);
  }
}

function weigh(failure: TransportFailure, visit: HostVisit, isLast: boolean): AttemptFailure {
  const down = visit.failed(failure, isLast);
  if (down !== undefined) return { error: down, mayRepeat: false };
  const { error, stage } = failure;
  // The host lives, so this is the misfortune of one connection.
  const isOne = error.failure === 'host-down';
  const shown = isOne ? new HttpError('broken', error.url, error.what, { hint: error.hint, cause: error }) : error;
  return { error: shown, mayRepeat: stage !== 'final' };
}

function guard(
  response: Dispatcher.ResponseData,
  { url, signal, bodyTimeoutMs }: ExchangeRequest,
  { stallTimeoutMs }: ExchangeTools,
  visit: HostVisit,
  onEnd: () => void,
): HttpResponse {
  const headers = flatten(response.headers);
  const body = new GuardedBody(response.body, {
    url,
    stallTimeoutMs,
    totalTimeoutMs: bodyTimeoutMs,
    expectedBytes: announcedBytes(headers),
    explain: (error) => (signal?.aborted === true ? signal.reason : explainBodyError(error, url)),
    onBytes: () => visit.signOfLife(),
    onEnd,
  });
  return { status: response.statusCode, headers, body, url };
}

function announcedBytes(headers: HttpHeaders): number | undefined {
  const text = headers['content-length'];
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

function flatten(headers: Dispatcher.ResponseData['headers']): HttpHeaders {
  const flat: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) flat[name.toLowerCase()] = Array.isArray(value) ? value.join(', ') : value;
  }
  return flat;
}
