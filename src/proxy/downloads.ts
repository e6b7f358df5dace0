import { rm } from 'node:fs/promises';
import { Semaphore } from '../base/concurrency.ts';
import { NixferryError } from '../base/errors.ts';
import { freeBytes } from '../base/files.ts';
import type { HttpClient } from '../base/http-client.ts';
import { LIMITS } from '../base/limits.ts';
import { maxFileBytes } from '../mirror/nar-hash.ts';
import { intakeNar, partialNarFile, withIntakenNar } from '../mirror/nar-intake.ts';
import { assessTrust } from '../mirror/trust.ts';
import type { NarInfo } from '../nix/narinfo.ts';
import type { PublicKey } from '../nix/signature.ts';
import { openUnbrokenNar } from '../upstream/unbroken-nar.ts';
import { Download, type NarListener } from './download.ts';
import type { HeldPaths } from './held-paths.ts';
import type { RememberedOffer } from './offer-table.ts';
import type { Offers } from './offers.ts';
import type { OnceLog } from './once-log.ts';
import type { UpstreamLine } from './upstream-line.ts';

export interface DownloadsOptions {
  readonly mirrorDirectory: string;
  readonly partialFolder: string;
  readonly http: Pick<HttpClient, 'retries' | 'clock'>;
  readonly trustedKeys: readonly PublicKey[];
  readonly offers: Offers;
  readonly held: HeldPaths;
  readonly log: OnceLog;
  readonly signal: AbortSignal;
  /** A path is verified and held. */
  readonly onHeld: (info: NarInfo) => void;
}

/** NARs on their way from upstreams: one transfer for each, however many clients wait for it, and a bounded number at once. */
export class Downloads {
  readonly #options: DownloadsOptions;
  readonly #running = new Map<string, Download>();
  readonly #work = new Set<Promise<void>>();
  readonly #places = new Semaphore(LIMITS.proxyDownloadsAtOnce);

  constructor(options: DownloadsOptions) {
    this.#options = options;
  }

  /** Begins the transfer or joins it. Gives what ends the following; the transfer goes on without followers. */
  follow(offer: RememberedOffer, listener: NarListener): () => void {
    const running = this.#running.get(offer.narName) ?? this.#begin(offer);
    if (running !== undefined) return running.follow(listener);
    listener({ say: 'absent' });
    return () => {};
  }

  /** Resolves when it is over, whatever the outcome. */
  async fetch(offer: RememberedOffer): Promise<void> {
    await new Promise<void>((resolve) => {
      this.follow(offer, (event) => {
        if (event.say !== 'growing') resolve();
      });
    });
  }

  /** Resolves when nothing is fetched any more. */
  async idle(): Promise<void> {
    await Promise.all(this.#work);
  }

  #begin(offer: RememberedOffer): Download | undefined {
    if (this.#running.size >= LIMITS.proxyDownloadsWaiting) return undefined;
    const { signal } = this.#options;
    const download = new Download(partialNarFile(this.#place(offer)), offer.info.fileSizeBytes, LIMITS.proxyProgressMs);
    this.#running.set(offer.narName, download);
    const work = async (): Promise<void> => {
      const event = await this.#places
        .use(() => this.#fetchFromAny(offer, download), signal)
        .catch((error: unknown) => this.#explain(offer, error));
      this.#running.delete(offer.narName);
      download.end(event);
    };
    const working = work().finally(() => this.#work.delete(working));
    this.#work.add(working);
    return download;
  }

  async #fetchFromAny(offer: RememberedOffer, download: Download) {
    const tried = new Set<string>();
    let source: RememberedOffer | undefined = offer;
    let failure: unknown;
    while (source !== undefined) {
      tried.add(source.upstream);
      const line = this.#options.offers.line(source.upstream);
      try {
        if (line?.isUp === true) return await this.#fetchFrom(line, source, download);
      } catch (error) {
        this.#options.signal.throwIfAborted();
        if (!(error instanceof NixferryError)) throw error;
        if (error.code === 'no-space') {
          // A part that cannot become a whole only takes the room that is lacking.
          download.grown(0);
          await rm(partialNarFile(this.#place(source)), { force: true });
          throw error;
        }
        failure = error;
        line?.failed(error);
        // What was begun may be at fault, and another upstream begins anew.
        if (error.code === 'damage' || error.code === 'not-trusted') download.grown(0);
        this.#explain(source, error);
      }
      source = await this.#options.offers.elsewhere(offer, tried);
    }
    if (failure === undefined) return { say: 'absent' } as const;
    return { say: 'failed' } as const;
  }

  async #fetchFrom(line: UpstreamLine, offer: RememberedOffer, download: Download) {
    const { info } = offer;
    const { http, signal, trustedKeys, held, onHeld } = this.#options;
    const { upstream } = line;
    if (upstream === undefined) return { say: 'absent' } as const;
    await this.#checkSpace(info);
    const nar = await intakeNar({
      ...this.#place(offer),
      what: info.storePath,
      signal,
      eager: true,
      open: (offset) => openUnbrokenNar(upstream, info, { offset, signal, http }),
      onBytes: () => line.signOfLife(),
      onWritten: (sizeBytes) => download.grown(sizeBytes),
    });
    const taken = withIntakenNar(info, nar);
    const trust = await assessTrust(taken, trustedKeys, nar.file, signal);
    if (!trust.trusted) {
      await rm(nar.file, { force: true });
      throw new NixferryError('not-trusted', `${info.storePath}: ${trust.reason}`);
    }
    const { narFile } = await held.add(taken, nar.file);
    onHeld(taken);
    return { say: 'verified', file: narFile, sizeBytes: nar.fileSizeBytes } as const;
  }

  #place({ info }: RememberedOffer) {
    const { mirrorDirectory, partialFolder } = this.#options;
    return { mirror: { directory: mirrorDirectory }, partialFolder, expected: info };
  }

  /** Some room is left for whoever else writes there: a full disk hurts more than a path that is not cached. */
  async #checkSpace(info: NarInfo): Promise<void> {
    const { partialFolder } = this.#options;
    if ((await freeBytes(partialFolder)) >= maxFileBytes(info) + LIMITS.proxySpareBytes) return;
    throw new NixferryError('no-space', `no room for the NAR of ${info.storePath} in ${partialFolder}`, {
      hint: 'free some room: until then, clients fetch new paths elsewhere',
    });
  }

  #explain(offer: RememberedOffer, error: unknown) {
    const { log, signal, offers } = this.#options;
    if (signal.aborted) return { say: 'failed' } as const;
    const isKnown = error instanceof NixferryError;
    if (isKnown && (error.code === 'damage' || error.code === 'not-trusted')) offers.forget(offer.hashPart);
    const reason = isKnown ? error.message : error instanceof Error ? (error.stack ?? error.message) : String(error);
    const key = isKnown && error.code === 'no-space' ? 'no-space' : offer.info.storePath;
    log.error(key, { path: offer.info.storePath, upstream: offer.upstream, reason }, 'a NAR could not be fetched');
    return { say: 'failed' } as const;
  }
}
