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
import type { Upstream } from '../upstream/upstream.ts';
import { Download, type NarListener } from './download.ts';
import type { HeldPaths } from './held-paths.ts';
import type { RememberedOffer } from './offer-table.ts';
import type { Offers } from './offers.ts';
import type { OnceLog } from './once-log.ts';
import type { PassedNars } from './passed-nars.ts';
import type { FetchedAmount } from './protocol.ts';
import type { UpstreamLine } from './upstream-line.ts';

export interface DownloadsOptions {
  readonly mirrorDirectory: string;
  readonly partialFolder: string;
  readonly http: Pick<HttpClient, 'retries' | 'clock'>;
  readonly trustedKeys: readonly PublicKey[];
  readonly offers: Offers;
  readonly held: HeldPaths;
  readonly passed: PassedNars;
  readonly log: OnceLog;
  readonly signal: AbortSignal;
  /** A path is verified and held. */
  readonly onHeld: (info: NarInfo) => void;
}

interface Transfer {
  readonly line: UpstreamLine;
  readonly upstream: Upstream;
  readonly offer: RememberedOffer;
  readonly download: Download;
}

/** NARs on their way from upstreams: one transfer for each, however many clients wait for it, and a bounded number at once. */
export class Downloads {
  readonly #options: DownloadsOptions;
  readonly #running = new Map<string, Download>();
  readonly #work = new Set<Promise<void>>();
  readonly #places = new Semaphore(LIMITS.proxyDownloadsAtOnce);
  #fetched: FetchedAmount = { paths: 0, fileBytes: 0 };

  constructor(options: DownloadsOptions) {
    this.#options = options;
  }

  /** What has been verified since the start. */
  get fetched(): FetchedAmount {
    return this.#fetched;
  }

  /** Begins the transfer or joins it. Gives what ends the following; the transfer goes on without followers. */
  follow(offer: RememberedOffer, listener: NarListener): () => void {
    const running = this.#running.get(offer.narName) ?? this.#begin(offer);
    if (running !== undefined) return running.follow(listener);
    listener({ say: 'absent' });
    return () => {};
  }

  /** Brings what can be kept. Resolves when it is over, whatever the outcome. */
  async fetch(offer: RememberedOffer): Promise<void> {
    if (!(await this.canKeep(offer.info))) return;
    await new Promise<void>((resolve) => {
      this.follow(offer, (event) => {
        if (event.say !== 'growing') resolve();
      });
    });
  }

  /** Whether there is room: some is left for whoever else writes there: a full disk hurts more than a path that is not cached. */
  async canKeep(info: NarInfo): Promise<boolean> {
    return (await freeBytes(this.#options.partialFolder)) >= maxFileBytes(info) + LIMITS.proxySpareBytes;
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
        if (error.code === 'no-space') throw error;
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
    const { upstream } = line;
    if (upstream === undefined) return { say: 'absent' } as const;
    const transfer = { line, upstream, offer, download };
    if (!(await this.canKeep(offer.info))) return this.#pass(transfer);
    try {
      const { taken, nar } = await this.#takeIn(transfer, this.#options.partialFolder);
      const held = this.#options.held.take(taken, nar.file);
      const verified = { say: 'verified', file: held.narFile, sizeBytes: nar.fileSizeBytes } as const;
      // Nobody waits for what only the next start needs.
      download.end(verified);
      await this.#options.held.keep(held).catch((error: unknown) => this.#explainUnkept(offer, error));
      this.#options.onHeld(taken);
      return verified;
    } catch (error) {
      if (!(error instanceof NixferryError) || error.code !== 'no-space') throw error;
      // A part that cannot become a whole only takes the room that is lacking.
      await rm(partialNarFile(this.#place(offer)), { force: true });
      return this.#pass(transfer);
    }
  }

  /** What cannot be kept reaches those who wait for it all the same, checked like all else. Throws `no-space`. */
  async #pass(transfer: Transfer) {
    const { offer, download } = transfer;
    const { mirrorDirectory, passed, log } = this.#options;
    const full = { mirror: mirrorDirectory, freeBytes: await freeBytes(mirrorDirectory), next: ROOM_HINT };
    if (!(await passed.hasRoom(maxFileBytes(offer.info)))) {
      throw new NixferryError('no-space', `neither ${mirrorDirectory} nor ${passed.folder} has room`, {
        hint: ROOM_HINT,
      });
    }
    log.error(
      'full',
      { path: offer.info.storePath, ...full },
      'the disk is full: what is fetched is passed on and not kept',
    );
    const place = this.#place(offer, passed.folder);
    download.moves(partialNarFile(place));
    try {
      const { nar } = await this.#takeIn(transfer, passed.folder);
      const { narFile, sizeBytes } = await passed.add(offer.narName, nar.file, nar.fileSizeBytes);
      return { say: 'verified', file: narFile, sizeBytes } as const;
    } catch (error) {
      await rm(partialNarFile(place), { force: true });
      throw error;
    }
  }

  /** Throws what `intakeNar` throws, and `not-trusted`. */
  async #takeIn({ line, upstream, offer, download }: Transfer, folder: string) {
    const { info } = offer;
    const { http, signal, trustedKeys } = this.#options;
    const nar = await intakeNar({
      ...this.#place(offer, folder),
      what: info.storePath,
      signal,
      eager: true,
      open: (offset) => openUnbrokenNar(upstream, info, { offset, signal, http }),
      onBytes: () => line.signOfLife(),
      onWritten: (sizeBytes) => download.grown(sizeBytes),
    });
    const taken = withIntakenNar(info, nar);
    const trust = await assessTrust(taken, trustedKeys, nar.file, signal);
    if (trust.trusted) {
      const { paths, fileBytes } = this.#fetched;
      this.#fetched = { paths: paths + 1, fileBytes: fileBytes + nar.fileSizeBytes };
      return { taken, nar };
    }
    await rm(nar.file, { force: true });
    throw new NixferryError('not-trusted', `${info.storePath}: ${trust.reason}`);
  }

  #place({ info }: RememberedOffer, partialFolder = this.#options.partialFolder) {
    return { mirror: { directory: this.#options.mirrorDirectory }, partialFolder, expected: info };
  }

  /** Clients have it all the same. */
  #explainUnkept({ info }: RememberedOffer, error: unknown): void {
    if (!(error instanceof NixferryError)) throw error;
    const fields = { path: info.storePath, reason: error.message, next: ROOM_HINT };
    this.#options.log.error('unkept', fields, 'what was fetched is here only until it is published or the server ends');
  }

  #explain(offer: RememberedOffer, error: unknown) {
    const { log, signal, offers } = this.#options;
    if (signal.aborted) return { say: 'failed' } as const;
    const isKnown = error instanceof NixferryError;
    if (isKnown && (error.code === 'damage' || error.code === 'not-trusted')) offers.forget(offer.hashPart);
    const reason = isKnown ? error.message : error instanceof Error ? (error.stack ?? error.message) : String(error);
    if (isKnown && error.code === 'no-space') {
      const fields = { path: offer.info.storePath, reason: error.message, next: ROOM_HINT };
      log.error('no room', fields, 'the disk is full: clients cannot have what is not here');
      return { say: 'failed' } as const;
    }
    log.error(
      offer.info.storePath,
      { path: offer.info.storePath, upstream: offer.upstream, reason },
      'a NAR could not be fetched',
    );
    return { say: 'failed' } as const;
  }
}

const ROOM_HINT =
  'free some room on the file system of the mirror; what is asked for then is kept again, without a restart';
