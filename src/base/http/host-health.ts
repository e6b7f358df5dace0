import type { Clock } from '../clock.ts';
import { LIMITS } from '../limits.ts';
import { HttpError, type TransportFailure } from './http-error.ts';

/** How long a host that turned out dead is left alone: at first, and after it has been found dead again and again. */
export interface HostDownTimes {
  readonly hostDownMs: number;
  readonly hostDownCeilingMs: number;
}

const DEFAULT_DOWN_TIMES: HostDownTimes = LIMITS;

/**
 * What is known of each host, so that a dead one costs one connect timeout and not one for each request: the first
 * request to a host goes alone and the others wait for its outcome; when a host turns out dead, whoever still waits for
 * it is told at once, and so is whoever comes later. After a while one request tries again, and only that one waits.
 * Also how long a host has asked everybody to stay away (Retry-After).
 */
export class HostHealth {
  readonly #clock: Clock;
  readonly #times: HostDownTimes;
  readonly #hosts = new Map<string, Host>();

  constructor(clock: Clock, times: HostDownTimes = DEFAULT_DOWN_TIMES) {
    this.#clock = clock;
    this.#times = times;
  }

  /** Throws the remembered HttpError when the host is down. The caller owes a `leave()`. */
  async visit(origin: string, signal: AbortSignal | undefined): Promise<HostVisit> {
    const host = this.#host(origin);
    for (;;) {
      signal?.throwIfAborted();
      const { state } = host;
      if (state.phase === 'up') return new HostVisit(host, this.#clock, false);
      const mayTry = state.phase === 'new' || this.#clock.nowMs() >= state.tryAgainAtMs;
      if (mayTry && !host.isProbed) {
        host.isProbed = true;
        return new HostVisit(host, this.#clock, true);
      }
      if (state.phase === 'down') throw state.failure;
      await outcome(host, signal);
    }
  }

  #host(origin: string): Host {
    const known = this.#hosts.get(origin);
    if (known !== undefined) return known;
    const host: Host = {
      state: { phase: 'new' },
      isProbed: false,
      times: this.#times,
      downForMs: this.#times.hostDownMs,
      lastSignOfLifeMs: Number.NEGATIVE_INFINITY,
      stayAwayUntilMs: 0,
      waiting: new Set(),
      visitors: new Set(),
    };
    this.#hosts.set(origin, host);
    return host;
  }
}

/** One request's dealings with a host, over all its attempts. */
export class HostVisit {
  readonly #host: Host;
  readonly #clock: Clock;
  #isProbe: boolean;
  #attemptBeganMs: number;
  #onDown: ((failure: HttpError) => void) | undefined;

  constructor(host: Host, clock: Clock, isProbe: boolean) {
    this.#host = host;
    this.#clock = clock;
    this.#isProbe = isProbe;
    this.#attemptBeganMs = clock.nowMs();
  }

  /** Waits while the host has asked to be left alone; `onDown` is called if the host dies before it has answered. */
  async begin(signal: AbortSignal | undefined, onDown: (failure: HttpError) => void): Promise<void> {
    for (let waitMs = this.#stayAwayMs(); waitMs > 0; waitMs = this.#stayAwayMs()) {
      await this.#clock.sleep(waitMs, signal);
    }
    const { state } = this.#host;
    if (state.phase === 'down' && !this.#isProbe) throw state.failure;
    this.#attemptBeganMs = this.#clock.nowMs();
    this.#onDown = onDown;
    this.#host.visitors.add(onDown);
  }

  /** The host has answered, whatever the status: it lives. */
  answered(): void {
    this.#forget();
    this.signOfLife();
    this.#host.state = { phase: 'up' };
    this.#host.downForMs = this.#host.times.hostDownMs;
    this.#release();
  }

  /** Bytes of a body have come. */
  signOfLife(): void {
    this.#host.lastSignOfLifeMs = this.#clock.nowMs();
  }

  /** The host asks for `durationMs` without requests. */
  stayAway(durationMs: number): void {
    this.#host.stayAwayUntilMs = Math.max(this.#host.stayAwayUntilMs, this.#clock.nowMs() + durationMs);
  }

  /**
   * Weighs a failed attempt; gives what is remembered when the host now counts as dead. One that never answered is dead at the first failure
   * to connect. One that did is dead when a connection times out, or the last attempt fails to connect, and it has given
   * no sign of life meanwhile: a busy server that lets one connection fall is not dead.
   */
  failed(failure: TransportFailure, isLastAttempt: boolean): HttpError | undefined {
    this.#forget();
    // Somebody else has found out already, and this request was on its way.
    const before = this.#host.state;
    if (before.phase === 'down' && !this.#isProbe) return before.failure;
    const { stage, error } = failure;
    const isConnectFailure = stage === 'connect' || stage === 'connect-timeout';
    if (before.phase === 'up') {
      const isSilent = this.#host.lastSignOfLifeMs < this.#attemptBeganMs;
      if (isSilent && isConnectFailure && (stage === 'connect-timeout' || isLastAttempt)) this.#markDown(error);
    } else if (isConnectFailure || stage === 'headers-timeout' || stage === 'final' || isLastAttempt) {
      this.#markDown(error);
    }
    return this.#host.state.phase === 'down' ? this.#host.state.failure : undefined;
  }

  /** Must be called once the request has ended, however it ended. */
  leave(): void {
    this.#forget();
    this.#release();
  }

  #stayAwayMs(): number {
    return this.#host.stayAwayUntilMs - this.#clock.nowMs();
  }

  #markDown(error: HttpError): void {
    const host = this.#host;
    const failure = error.failure === 'host-down' ? error : asHostDown(error);
    host.state = { phase: 'down', failure, tryAgainAtMs: this.#clock.nowMs() + host.downForMs };
    host.downForMs = Math.min(host.downForMs * 2, host.times.hostDownCeilingMs);
    this.#release();
    const visitors = [...host.visitors];
    host.visitors.clear();
    for (const tell of visitors) tell(failure);
  }

  #forget(): void {
    if (this.#onDown !== undefined) this.#host.visitors.delete(this.#onDown);
    this.#onDown = undefined;
  }

  #release(): void {
    if (!this.#isProbe) return;
    this.#isProbe = false;
    this.#host.isProbed = false;
    const waiting = [...this.#host.waiting];
    this.#host.waiting.clear();
    for (const wake of waiting) wake();
  }
}

type HostState =
  | { readonly phase: 'new' }
  | { readonly phase: 'up' }
  | { readonly phase: 'down'; readonly failure: HttpError; readonly tryAgainAtMs: number };

interface Host {
  state: HostState;
  /** One request is finding out whether a host that is not known to be up lives. */
  isProbed: boolean;
  readonly times: HostDownTimes;
  downForMs: number;
  lastSignOfLifeMs: number;
  stayAwayUntilMs: number;
  readonly waiting: Set<() => void>;
  readonly visitors: Set<(failure: HttpError) => void>;
}

function outcome(host: Host, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      host.waiting.delete(wake);
      reject(signal?.reason);
    };
    const wake = (): void => {
      signal?.removeEventListener('abort', abort);
      resolve();
    };
    host.waiting.add(wake);
    signal?.addEventListener('abort', abort, { once: true });
  });
}

function asHostDown(error: HttpError): HttpError {
  return new HttpError('host-down', error.url, error.what, {
    hint: error.hint ?? 'check the address, the network and the proxy',
    cause: error,
  });
}
