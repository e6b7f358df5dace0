import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { dirname, join } from 'node:path';
import type { Logger } from 'pino';
import { systemClock } from '../base/clock.ts';
import { NixferryError } from '../base/errors.ts';
import { createHttpClient, type HttpClient } from '../base/http-client.ts';
import { LIMITS } from '../base/limits.ts';
import { openFileStorage } from '../mirror/file-storage.ts';
import { narInfoName, privateLayout } from '../mirror/layout.ts';
import { openMirror } from '../mirror/mirror.ts';
import { type MirrorLock, takeMirrorLock } from '../mirror/mirror-lock.ts';
import { SigningKeys } from '../mirror/signing-keys.ts';
import type { UpstreamState } from '../mirror/upstream-state.ts';
import { parsePublicKey, type SecretKey } from '../nix/signature.ts';
import { hashPartOf, type StorePath, type StorePathBaseName } from '../nix/store-path.ts';
import { AbsentPaths } from './absent-paths.ts';
import { Downloads } from './downloads.ts';
import { HeldPaths } from './held-paths.ts';
import { LookAhead } from './look-ahead.ts';
import type { OfferTerms } from './offer.ts';
import { OfferTable } from './offer-table.ts';
import { Offers } from './offers.ts';
import { OnceLog } from './once-log.ts';
import { PassedNars } from './passed-nars.ts';
import type { FetcherSettings } from './protocol.ts';
import { Publisher } from './publisher.ts';
import { QuestionDesk } from './question-desk.ts';
import { SmallFiles, type SmallFilesOptions } from './small-files.ts';
import { UpstreamLine } from './upstream-line.ts';
import { WaitingRealisations } from './waiting-realisations.ts';

export interface Fetcher {
  /** How each is just now. */
  upstreams(): readonly UpstreamState[];
  close(): Promise<void>;
}

/**
 * Opens the one process's part that deals with upstreams, and listens for the serving processes. Resolves when each upstream is known to live or not.
 * Throws `mirror-locked` when another fetcher works on this mirror, `bad-key`, and what opening the mirror throws.
 */
export async function openFetcher(settings: FetcherSettings, logger: Logger): Promise<Fetcher> {
  const { mirrorDirectory, socketFile } = settings;
  const folder = privateLayout(mirrorDirectory).proxyFolder;
  const folders = { partial: join(folder, 'partial'), held: join(folder, 'held') };
  for (const one of Object.values(folders)) await mkdir(one, { recursive: true });
  const lock = await takeProxyLock(folder);
  const stopping = new AbortController();
  const { signal } = stopping;
  try {
    await removeStalePartials(folders.partial);
    const { storeDir, terms, keys } = await readTerms(settings);
    const http = openHttp(settings);
    const log = new OnceLog(logger);
    const onLost = (): void => desk.tellLost();
    const lines = openLines(settings, { http, storeDir, logger, signal, onLost });
    const table = new OfferTable(join(folder, 'offers.sqlite'), storeDir);
    const held = new HeldPaths(folders.held, storeDir);
    const offers = new Offers({ lines, terms, table, clock: systemClock, log });
    const storage = openFileStorage(mirrorDirectory);
    const isVisible = async (path: StorePath | StorePathBaseName): Promise<boolean> =>
      (await storage.stat(narInfoName(hashPartOf(path)))) !== undefined;
    const realisations = new WaitingRealisations();
    const { sign } = settings;
    const publisher = new Publisher({ mirrorDirectory, held, realisations, sign, isVisible, log, signal });
    const { trustedKeys } = terms;
    const passed = await PassedNars.open(join(dirname(socketFile), 'passed'));
    const common = { mirrorDirectory, partialFolder: folders.partial, http, trustedKeys, offers, held, log, signal };
    const downloads = new Downloads({ ...common, passed, onHeld: () => publisher.wake() });
    const lookAhead = settings.lookAhead ? new LookAhead({ offers, downloads, held, isVisible, signal }) : undefined;
    const absent = new AbsentPaths(systemClock);
    const onRealisation: SmallFilesOptions['onRealisation'] = (one) => {
      realisations.add(one);
      publisher.wake();
    };
    const files = new SmallFiles({ offers, terms, absent, onRealisation });
    const desk = new QuestionDesk({ offers, downloads, held, passed, files, lines, storage, storeDir, lookAhead });
    const server = await listenAt(socketFile, desk);
    const restoring = held.restore(Date.now(), signal).then(() => publisher.wake());
    const watching = watchMirror(() => storage.changeToken(), publisher, signal);
    const tidying = setInterval(() => void removeStalePartials(folders.partial).catch(() => {}), TIDY_MS);
    signal.addEventListener('abort', () => clearInterval(tidying), { once: true });
    const renewing = setInterval(() => void renewKeys().catch(() => {}), LIMITS.proxyMirrorCheckMs);
    signal.addEventListener('abort', () => clearInterval(renewing), { once: true });
    const renewKeys = async (): Promise<void> => {
      const now = await keys?.read();
      if (now === undefined || now === terms.signingKeys) return;
      terms.signingKeys = now;
      offers.renew();
      desk.tellLost();
    };
    await Promise.all(lines.map((line) => line.start()));
    return {
      upstreams: () => lines.map(({ state: now }) => now),
      close: async () => {
        stopping.abort();
        desk.close();
        server.close();
        await Promise.allSettled([restoring, watching, publisher.idle(), downloads.idle()]);
        passed[Symbol.dispose]();
        table.close();
        await http[Symbol.asyncDispose]();
        lock.release();
      },
    };
  } catch (error) {
    stopping.abort();
    lock.release();
    throw error;
  }
}

/** `keys`: those of the mirror as they are from now on, where it signs. */
async function readTerms({ mirrorDirectory, trustedPublicKeys, sign }: FetcherSettings): Promise<{
  storeDir: string;
  terms: OfferTerms & { signingKeys: readonly SecretKey[] };
  keys: SigningKeys | undefined;
}> {
  await using mirror = await openMirror(mirrorDirectory, { access: 'read' });
  const keys = sign ? new SigningKeys(mirrorDirectory) : undefined;
  const signingKeys = (await keys?.read()) ?? [];
  const terms = { trustedKeys: trustedPublicKeys.map(parsePublicKey), signingKeys };
  return { storeDir: mirror.storeDir, terms, keys };
}

function openHttp({ netrcFile, caFile }: FetcherSettings): HttpClient {
  return createHttpClient({
    // As many as fit into the time for one question; what bounds it is that.
    attempts: LIMITS.httpAttempts,
    connectTimeoutMs: LIMITS.proxyAskMs,
    stallTimeoutMs: LIMITS.proxyStallMs,
    // Whether an upstream lives is for its line to find out.
    hostDownTimes: { hostDownMs: 0, hostDownCeilingMs: 0 },
    ...(netrcFile === undefined ? {} : { netrcFile }),
    ...(caFile === undefined ? {} : { caFile }),
  });
}

function openLines(
  { upstreams }: FetcherSettings,
  parts: {
    readonly http: HttpClient;
    readonly storeDir: string;
    readonly logger: Logger;
    readonly signal: AbortSignal;
    readonly onLost: () => void;
  },
): UpstreamLine[] {
  const { logger, onLost, ...rest } = parts;
  const onChange = (line: UpstreamLine): void => {
    const { url, state, reason, next } = line.state;
    if (state === 'up') {
      logger.info({ upstream: url, priority: line.priority }, 'upstream answers');
      return;
    }
    if (state === 'unusable')
      logger.error({ upstream: url, reason, next }, 'upstream is of no use as it is; going on without it');
    else logger.error({ upstream: url, reason, next }, 'upstream does not answer; going on without it');
    onLost();
  };
  return [...new Set(upstreams)].map((address) => new UpstreamLine({ address, ...rest, clock: systemClock, onChange }));
}

async function listenAt(socketFile: string, desk: QuestionDesk): Promise<Server> {
  await rm(socketFile, { force: true });
  const server = createServer((socket) => desk.take(socket));
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(socketFile, resolve);
  });
  return server;
}

/** One fetcher for a mirror; one that has just been killed may take a moment to go. */
async function takeProxyLock(folder: string): Promise<MirrorLock> {
  const place = { folder, lockFile: join(folder, 'lock'), lockInfoFile: join(folder, 'lock-info.json') };
  const giveUpMs = systemClock.nowMs() + LOCK_WAIT_MS;
  for (;;) {
    try {
      return await takeMirrorLock(place, 'nixferry serve --upstream');
    } catch (error) {
      const isLocked = error instanceof NixferryError && error.code === 'mirror-locked';
      if (!isLocked || systemClock.nowMs() >= giveUpMs) throw error;
      await systemClock.sleep(100);
    }
  }
}

async function removeStalePartials(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const file = join(folder, name);
    const found = await stat(file).catch(() => undefined);
    const isOld = found === undefined || Date.now() - found.mtimeMs > LIMITS.proxyPartialMs;
    if (isOld) await rm(file, { recursive: true, force: true });
  }
}

/** Others write to the mirror, too: what waited for a reference may be ready then. */
async function watchMirror(
  readToken: () => Promise<string | undefined>,
  publisher: Publisher,
  signal: AbortSignal,
): Promise<void> {
  let known: string | undefined;
  while (!signal.aborted) {
    const token = await readToken().catch(() => undefined);
    if (token !== known) publisher.wake();
    known = token;
    await systemClock.sleep(LIMITS.proxyMirrorCheckMs, signal).catch(() => {});
  }
}

const LOCK_WAIT_MS = 5000;
const TIDY_MS = 3600_000;
