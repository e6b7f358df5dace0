import type { Clock } from '../base/clock.ts';
import { NixferryError } from '../base/errors.ts';
import { showUrl } from '../base/http/shown-url.ts';
import { type HttpClient, HttpError, isHostDown } from '../base/http-client.ts';
import { LIMITS } from '../base/limits.ts';
import type { UpstreamState } from '../mirror/upstream-state.ts';
import { openUpstream, type Upstream } from '../upstream/upstream.ts';
import { explainTrouble, type UpstreamTrouble } from './upstream-trouble.ts';

export interface UpstreamLineOptions {
  readonly address: string;
  readonly http: HttpClient;
  readonly storeDir: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly onChange: (line: UpstreamLine) => void;
  readonly askTimeoutMs?: number | undefined;
}

/** Thrown for an upstream that is not asked, because it is known to be dead. */
export class UpstreamDown extends Error {}

/**
 * An upstream that may come and go. Whether it lives is found out once, by whoever notices first, and from then on by probes in the
 * background: nobody's request waits for a dead one. It counts as dead when it cannot be reached, when a question times out while nothing
 * else comes from it, and when several questions in a row fail; what turns out to be no cache is treated alike.
 */
export class UpstreamLine {
  /** What it is known by: its address without credentials. */
  readonly url: string;
  readonly #options: UpstreamLineOptions;
  readonly #askTimeoutMs: number;
  #upstream: Upstream | undefined;
  #state: UpstreamState['state'] = 'not known yet';
  #trouble: UpstreamTrouble | undefined;
  #refused: UpstreamState['refused'];
  #failuresInARow = 0;
  #lastSignOfLifeMs = Number.NEGATIVE_INFINITY;
  #probing = false;
  readonly #known = Promise.withResolvers<void>();

  constructor(options: UpstreamLineOptions) {
    this.url = showUrl(options.address).replace(/\/$/, '');
    this.#options = options;
    this.#askTimeoutMs = options.askTimeoutMs ?? LIMITS.proxyAskMs;
  }

  get isUp(): boolean {
    return this.#state === 'up';
  }

  get upstream(): Upstream | undefined {
    return this.#upstream;
  }

  /** Known to be of no use just now. */
  get isDown(): boolean {
    return this.#trouble !== undefined;
  }

  get state(): UpstreamState {
    return {
      url: this.url,
      state: this.#state,
      ...this.#trouble,
      ...(this.#refused === undefined ? {} : { refused: this.#refused }),
    };
  }

  /** Something that it has is not passed on. */
  refused(path: string, reason: string): void {
    this.#refused = { answers: (this.#refused?.answers ?? 0) + 1, lastReason: reason, lastPath: path };
  }

  /** Lower is asked first: as the address says (`?priority=10`, as with Nix), else as the cache says of itself. */
  get priority(): number {
    const wanted = URL.parse(this.#options.address)?.searchParams.get('priority') ?? '';
    if (/^\d{1,9}$/.test(wanted)) return Number(wanted);
    return this.#upstream?.cacheInfo.priority ?? NIX_DEFAULT_PRIORITY;
  }

  /** Resolves when it has first been found to live or to be dead, at the latest after a short while: then it counts as dead. */
  start(): Promise<void> {
    this.#probe();
    const timer = setTimeout(() => {
      if (this.#state === 'not known yet') this.#set({ state: 'down', reason: 'it has not answered yet' });
    }, LIMITS.proxyFirstProbeMs);
    this.#options.signal.addEventListener('abort', () => this.#known.resolve(), { once: true });
    return this.#known.promise.finally(() => clearTimeout(timer));
  }

  /**
   * Runs a short question. Throws UpstreamDown when it is dead or has just been found dead, what the upstream throws, and the caller's signal's
   * reason.
   */
  async ask<Result>(work: (upstream: Upstream, signal: AbortSignal) => Promise<Result>): Promise<Result> {
    if (this.#state === 'not known yet') await this.#known.promise;
    const upstream = this.#upstream;
    if (upstream === undefined || !this.isUp) throw new UpstreamDown(this.#trouble?.reason);
    const beganMs = this.#options.clock.nowMs();
    const timeout = AbortSignal.timeout(this.#askTimeoutMs);
    try {
      const result = await work(upstream, AbortSignal.any([timeout, this.#options.signal]));
      this.signOfLife();
      return result;
    } catch (error) {
      this.#options.signal.throwIfAborted();
      const timedOut = timeout.aborted;
      const isSilent = this.#lastSignOfLifeMs < beganMs;
      if (timedOut && isSilent)
        this.#goDown({ state: 'down', reason: `it did not answer within ${this.#askTimeoutMs / 1000} s` });
      else this.failed(error);
      throw error;
    }
  }

  /** An answer, or bytes of one, have come. */
  signOfLife(): void {
    this.#lastSignOfLifeMs = this.#options.clock.nowMs();
    this.#failuresInARow = 0;
  }

  /** A question or a transfer has failed. */
  failed(error: unknown): void {
    if (!(error instanceof NixferryError) || error.code !== 'upstream-unreachable') return;
    this.#failuresInARow += 1;
    const isGone = isHostDown(error) || !(error instanceof HttpError);
    if (isGone || this.#failuresInARow >= LIMITS.proxyFailuresToOpen) this.#goDown(explainTrouble(error));
  }

  #goDown(trouble: UpstreamTrouble): void {
    this.#set(trouble);
    this.#probe();
  }

  #set(found: UpstreamTrouble | 'up'): void {
    const state = found === 'up' ? found : found.state;
    const changed = this.#state !== state;
    this.#state = state;
    this.#trouble = found === 'up' ? undefined : found;
    if (!changed) return;
    this.#known.resolve();
    this.#options.onChange(this);
  }

  #probe(): void {
    if (this.#probing || this.#options.signal.aborted) return;
    this.#probing = true;
    void this.#probeUntilUp().finally(() => {
      this.#probing = false;
    });
  }

  async #probeUntilUp(): Promise<void> {
    const { clock, signal, address, http, storeDir } = this.#options;
    let delayMs = this.#state === 'not known yet' ? 0 : LIMITS.proxyProbeBaseMs;
    for (;;) {
      try {
        if (delayMs > 0) await clock.sleep(delayMs / 2 + (Math.random() * delayMs) / 2, signal);
        const within = AbortSignal.any([signal, AbortSignal.timeout(this.#askTimeoutMs)]);
        this.#upstream = await openUpstream(address, { http, storeDir, signal: within });
        this.signOfLife();
        this.#set('up');
        return;
      } catch (error) {
        if (signal.aborted) return;
        this.#set(explainTrouble(error));
      }
      delayMs = Math.min(Math.max(delayMs * 2, LIMITS.proxyProbeBaseMs), LIMITS.proxyProbeCeilingMs);
    }
  }
}

/** What Nix takes where a cache says nothing. */
const NIX_DEFAULT_PRIORITY = 50;
