import { NixferryError } from '../base/errors.ts';
import { type HttpClient, isHostDown } from '../base/http-client.ts';
import { ignoreProgress, type OnProgress } from '../base/progress.ts';
import type { HashPart, NarInfo } from '../nix/index.ts';
import { openUpstream, storeDirMismatch, type Upstream } from './upstream.ts';

export interface OpenUpstreamsOptions {
  readonly http: HttpClient;
  /** Default: that of the first upstream that answers. */
  readonly storeDir?: string;
  readonly signal?: AbortSignal;
  /** Gets a notice for each upstream that is left out. */
  readonly onProgress?: OnProgress;
}

export interface FindOptions {
  readonly signal?: AbortSignal;
  /** Whether a narinfo will do; the next upstream is asked when not. Default: any will. */
  readonly accept?: (info: NarInfo, upstream: Upstream) => boolean;
}

/**
 * Opens upstreams, all at once, to be asked in the order given. One that does not answer is left out with a notice; when
 * none does, the first one's error is thrown, and so is `store-dir-mismatch`.
 */
export async function openUpstreams(addresses: readonly string[], options: OpenUpstreamsOptions): Promise<UpstreamSet> {
  if (addresses.length === 0) {
    throw new NixferryError('usage', 'no upstream is given', { hint: 'name one with --upstream https://…' });
  }
  const { http, signal, onProgress = ignoreProgress } = options;
  const attempts = await Promise.allSettled(addresses.map((address) => openUpstream(address, { http, signal })));
  const upstreams = attempts.flatMap((attempt) => (attempt.status === 'fulfilled' ? [attempt.value] : []));
  try {
    signal?.throwIfAborted();
    const failures = attempts.flatMap((attempt) => (attempt.status === 'rejected' ? [attempt.reason as unknown] : []));
    for (const failure of failures) {
      if (!(failure instanceof NixferryError) || failure.code === 'usage' || upstreams.length === 0) throw failure;
      const hint = failure.hint === undefined ? '' : ` (${failure.hint})`;
      onProgress({ type: 'notice', message: `left out: ${failure.message}${hint}` });
    }
    const storeDir = options.storeDir ?? upstreams[0]?.cacheInfo.storeDir ?? '';
    const stranger = upstreams.find((upstream) => upstream.cacheInfo.storeDir !== storeDir);
    if (stranger !== undefined) throw storeDirMismatch(stranger, storeDir);
    return new UpstreamSet(upstreams, storeDir, onProgress);
  } catch (error) {
    await Promise.all(upstreams.map((upstream) => upstream.close()));
    throw error;
  }
}

/** Upstreams in the order in which they are asked. */
export class UpstreamSet implements AsyncDisposable {
  readonly upstreams: readonly Upstream[];
  readonly storeDir: string;
  readonly #onProgress: OnProgress;
  readonly #noticed = new Map<Upstream, number>();
  readonly #reportedDown = new Set<Upstream>();

  constructor(upstreams: readonly Upstream[], storeDir: string, onProgress: OnProgress = ignoreProgress) {
    this.upstreams = upstreams;
    this.storeDir = storeDir;
    this.#onProgress = onProgress;
  }

  /**
   * The first narinfo that is there and acceptable, with where it came from. Undefined only when every upstream has said
   * that it has none; when one could not say, and no other has it, its error is thrown, for then nobody knows.
   */
  async find(
    hashPart: HashPart,
    { signal, accept }: FindOptions = {},
  ): Promise<{ readonly upstream: Upstream; readonly info: NarInfo } | undefined> {
    let failure: NixferryError | undefined;
    for (const upstream of this.upstreams) {
      try {
        const info = await upstream.narInfo(hashPart, signal);
        if (info !== undefined && (accept === undefined || accept(info, upstream))) return { upstream, info };
      } catch (error) {
        signal?.throwIfAborted();
        if (!(error instanceof NixferryError)) throw error;
        this.#note(upstream, error);
        failure ??= error;
      }
    }
    if (failure !== undefined) throw failure;
    return undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.upstreams.map((upstream) => upstream.close()));
  }

  /** A dead upstream is told of once; of one that misbehaves the first few misdeeds are. */
  #note(upstream: Upstream, error: NixferryError): void {
    if (isHostDown(error)) {
      if (this.#reportedDown.has(upstream)) return;
      this.#reportedDown.add(upstream);
      const hint = error.hint === undefined ? '' : ` (${error.hint})`;
      this.#onProgress({ type: 'notice', message: `no longer answers: ${error.message}${hint}` });
      return;
    }
    const count = (this.#noticed.get(upstream) ?? 0) + 1;
    this.#noticed.set(upstream, count);
    if (count > NOTICES_PER_UPSTREAM) return;
    const more = count === NOTICES_PER_UPSTREAM ? '; further trouble with this upstream is not shown' : '';
    this.#onProgress({ type: 'notice', message: `${error.message}${more}` });
  }
}

const NOTICES_PER_UPSTREAM = 5;
