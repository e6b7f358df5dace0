import { stat } from 'node:fs/promises';
import { getHeapStatistics } from 'node:v8';
import type { Logger } from 'pino';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { CACHE_INFO_NAME, privateLayout } from '../mirror/layout.ts';
import { checkMirrorFormat } from '../mirror/mirror-format.ts';
import { type CacheInfo, parseCacheInfo } from '../nix/cache-info.ts';
import { NixFormatError } from '../nix/format-error.ts';
import { openProxyClient, type ProxyClient } from '../proxy/proxy-client.ts';
import { ChangeWatch } from './change-watch.ts';
import { type LimitedLog, limitLog } from './limited-log.ts';
import { LocalStore } from './local-store.ts';
import { MissRecorder } from './miss-recorder.ts';
import { NarInfoCache } from './narinfo-cache.ts';
import { type NarInfoOffers, offerNarInfos } from './narinfo-offers.ts';
import { OfferedNarInfos } from './offered-narinfos.ts';
import type { findOnlyFolder } from './only-folder.ts';
import { RecordedRoots } from './recorded-roots.ts';
import type { SendfileHeader } from './sendfile-header.ts';
import { openServedFiles, type ServedFiles } from './served-files.ts';
import { ServerSummary } from './server-summary.ts';
import { SourceTarballs } from './source-tarballs.ts';
import { TransferBuffers } from './transfer-buffers.ts';

export interface ServeContextOptions {
  readonly mirrorDirectory: string;
  /** Overrides what the mirror's nix-cache-info says. Lower is asked first. */
  readonly priority?: number | undefined;
  /** Have the web server in front of us send the files. */
  readonly sendfileHeader?: SendfileHeader | undefined;
  /** How clients reach the server, without a slash at the end. */
  readonly publicUrl?: string | undefined;
  /** Offer what is valid in the Nix store below this folder (`/` for the system's own), too. */
  readonly localStore?: string | undefined;
  /** How many processes serve the mirror on this machine, and share the memory for it; default 1. */
  readonly processes?: number | undefined;
  /** Where the process is reached that asks upstreams; without it the server answers for the mirror alone. */
  readonly proxySocket?: string | undefined;
  readonly logger: Logger;
}

/** What the endpoints work with; one for each process. */
export interface ServeContext {
  readonly directory: string;
  readonly storeDir: string;
  readonly priority: number | undefined;
  readonly sendfileHeader: SendfileHeader | undefined;
  readonly publicUrl: string | undefined;
  readonly buffers: TransferBuffers;
  readonly files: ServedFiles;
  /** Those of the mirror. */
  readonly narInfos: NarInfoCache;
  /** Those of the mirror, and of the server's own store. */
  readonly offers: NarInfoOffers;
  /** The same, and what upstreams have. */
  readonly offered: OfferedNarInfos;
  readonly localStore: LocalStore | undefined;
  readonly roots: RecordedRoots;
  readonly summary: ServerSummary;
  readonly misses: MissRecorder;
  readonly tarballs: SourceTarballs;
  /** By store path: which trees are nothing but one folder. */
  readonly onlyFolders: Map<string, ReturnType<typeof findOnlyFolder>>;
  readonly proxy: ProxyClient | undefined;
  readonly log: LimitedLog;
  /** Aborted when the server begins to stop; running transfers go on. */
  readonly stopping: AbortSignal;
}

/** Looks at the mirror before anything listens. Throws `not-a-mirror` or `newer-format`, and what opening the local store throws. */
export async function openServeContext(options: ServeContextOptions, stopping: AbortSignal): Promise<ServeContext> {
  const { mirrorDirectory: directory, logger, priority, sendfileHeader, publicUrl } = options;
  await checkFolder(directory);
  await checkMirrorFormat(privateLayout(directory));
  const files = await openServedFiles(directory);
  const { storeDir } = await readStartingCacheInfo(directory, files);
  const log = limitLog(logger);
  const watch = new ChangeWatch(() => files.changeToken());
  const narInfos = new NarInfoCache({ files, storeDir, watch, log, maxBytes: cacheBytes(options.processes ?? 1) });
  const buffers = new TransferBuffers();
  const localStore = await openLocal(options, storeDir, log);
  const offers = offerNarInfos(narInfos, localStore);
  const roots = new RecordedRoots(directory, storeDir);
  const summary = new ServerSummary({ directory, storeDir, localStore: localStore !== undefined });
  const misses = new MissRecorder(privateLayout(directory).missesFile, log);
  const tarballs = new SourceTarballs({ folder: privateLayout(directory).tarballsFolder, files, log });
  const { proxySocket } = options;
  const proxy = proxySocket === undefined ? undefined : openProxyClient({ socketFile: proxySocket });
  const offered = new OfferedNarInfos(offers, proxy, { maxBytes: offerBytes(options.processes ?? 1) });
  return {
    proxy,
    offered,
    directory,
    storeDir,
    priority,
    sendfileHeader,
    publicUrl,
    buffers,
    files,
    narInfos,
    offers,
    localStore,
    roots,
    summary,
    misses,
    tarballs,
    onlyFolders: new Map(),
    log,
    stopping,
  };
}

async function openLocal(
  { localStore: root, mirrorDirectory }: ServeContextOptions,
  storeDir: string,
  log: LimitedLog,
): Promise<LocalStore | undefined> {
  return root === undefined ? undefined : LocalStore.open({ mirrorDirectory, root, storeDir, log });
}

/** Never so much that V8, which on a small machine allows itself little, would have no room left. */
function cacheBytes(processes: number): number {
  const share = Math.max(LIMITS.servedNarInfoCacheBytes / processes, LIMITS.servedNarInfoCacheLeastBytes);
  return Math.min(share, getHeapStatistics().heap_size_limit / 4);
}

function offerBytes(processes: number): number {
  const share = Math.max(LIMITS.servedOffersBytes / processes, LIMITS.servedOffersLeastBytes);
  return Math.min(share, getHeapStatistics().heap_size_limit / 8);
}

async function checkFolder(directory: string): Promise<void> {
  const stats = await stat(directory).catch(() => undefined);
  if (stats?.isDirectory() === true) return;
  const what = stats === undefined ? 'there is no folder' : 'there is a file, not a folder, at';
  throw new NixferryError('not-a-mirror', `cannot serve ${directory}: ${what} ${directory}`, { hint: HINT });
}

async function readStartingCacheInfo(directory: string, files: ServedFiles): Promise<CacheInfo> {
  const bytes = await files.read(CACHE_INFO_NAME);
  if (bytes === undefined) {
    throw new NixferryError('not-a-mirror', `${directory} is not a mirror: it has no ${CACHE_INFO_NAME}`, {
      hint: HINT,
    });
  }
  try {
    return parseCacheInfo(bytes);
  } catch (error) {
    if (!(error instanceof NixFormatError)) throw error;
    throw new NixferryError('not-a-mirror', `${directory}/${CACHE_INFO_NAME} cannot be read: ${error.message}`, {
      hint: HINT,
      cause: error,
    });
  }
}

const HINT = 'name the mirror with --mirror DIR; nixferry init, collect or import makes one';
