import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import pino, { type Logger } from 'pino';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { UpstreamState } from '../mirror/upstream-state.ts';
import { type FetcherProcess, startFetcherProcess } from '../proxy/fetcher-process.ts';
import type { ProxyOptions } from '../proxy/protocol.ts';
import type { ListenTarget } from './listen.ts';
import { explainListenError, formatServerUrl, parseListenAddress } from './listen-address.ts';
import type { LocalServer, LocalServerOptions } from './local-server.ts';
import { checkPublicUrl } from './public-url.ts';
import type { SendfileHeader } from './sendfile-header.ts';
import { openWorkers, type Workers } from './workers.ts';

export interface ServerOptions {
  readonly mirrorDirectory: string;
  /** HOST:PORT, :PORT or [IPV6]:PORT, where port 0 is any free one; or descriptors of sockets that listen already. */
  readonly listen: string | readonly number[];
  /** Processes that serve; default one for each core. With 1 this process serves by itself. */
  readonly workers?: number | undefined;
  /** What nix-cache-info says; lower is asked first. Default: as the mirror says, else 30. */
  readonly priority?: number | undefined;
  /** Files are sent by the web server in front, which is told by this header field (docs/guide/behind-nginx.md). Default: by us. */
  readonly sendfileHeader?: SendfileHeader | undefined;
  /** Answer for these caches, too: fetch from them what clients ask for, keep it, serve it. Default: no outgoing connection is ever opened. */
  readonly proxy?: ProxyOptions | undefined;
  /** How clients reach the server, such as https://ferry.lan/nix; default: as each says in its Host field. */
  readonly publicUrl?: string | undefined;
  /** Offer the valid paths of the Nix store below this folder, too, signed with the mirror's key; `/` for the system's own. */
  readonly localStore?: string | undefined;
  /** Default: no log. With several workers, each writes its own to stderr at the level of this one. */
  readonly logger?: Logger | undefined;
  /** Stops the server as `close` does. */
  readonly signal?: AbortSignal | undefined;
  /** How long running transfers may take when the server stops. */
  readonly shutdownGraceMs?: number | undefined;
}

export interface RunningServer {
  /** The process that deals with upstreams, where there is one. */
  readonly fetcher: Pick<FetcherProcess, 'pid'> | undefined;
  /** How each upstream was when the server was ready. */
  readonly upstreams: readonly UpstreamState[];
  /** For clients on this machine, with the real port; empty when we listen on no TCP socket. */
  readonly url: string;
  /** 0 when there is none. */
  readonly port: number;
  readonly workers: number;
  /** Resolves when the server has stopped, whoever asked for it. */
  readonly closed: Promise<void>;
  /** Takes no new connections and resolves when the running transfers are through; with `now` breaks them off, also after a first call without. */
  close(options?: { readonly now?: boolean }): Promise<void>;
}

/**
 * Serves a mirror over HTTP as a binary cache. Without `proxy` nothing of it opens an outgoing connection; with it, a process of its own does.
 * Throws `not-a-mirror`, `newer-format`, `address-in-use` or `usage` (address, workers, priority).
 */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  options.signal?.throwIfAborted();
  const listenOn = targetOf(options.listen);
  const workers = checkWorkers(options.workers ?? Math.min(availableParallelism(), LIMITS.workers));
  const priority = options.priority === undefined ? undefined : checkPriority(options.priority);
  const logger = options.logger ?? pino({ level: 'silent' });
  const mirrorDirectory = resolve(options.mirrorDirectory);
  const { shutdownGraceMs, sendfileHeader } = options;
  const publicUrl = options.publicUrl === undefined ? undefined : checkPublicUrl(options.publicUrl);
  const listen = typeof options.listen === 'string' ? options.listen : 'the sockets of the service manager';
  logger.info({ mirror: mirrorDirectory, listen, workers }, 'starting');
  const shared = {
    mirrorDirectory,
    listenOn,
    priority,
    shutdownGraceMs,
    sendfileHeader,
    publicUrl,
    localStore: options.localStore === undefined ? undefined : resolve(options.localStore),
    processes: workers,
  };
  const fetcher =
    options.proxy === undefined ? undefined : await startFetcherProcess(mirrorDirectory, options.proxy, logger);
  const proxied = { ...shared, proxySocket: fetcher?.socketFile };
  const opening =
    workers === 1
      ? openHere({ ...proxied, logger })
      : openWorkers({ ...proxied, listen, logLevel: logger.level }, workers, logger);
  // Side by side: each takes about a second. What clients ask before the fetcher answers waits for it.
  const [inner, upstreams = []] = await Promise.all([opening, fetcher?.ready]).catch(async (error: unknown) => {
    await fetcher?.close();
    await opening.then(
      (opened) => opened.closeNow(),
      () => {},
    );
    throw explainListenError(error, listen);
  });
  const { bound } = inner;
  const host = 'address' in listenOn ? listenOn.address.host : bound?.host;
  const url = bound === undefined ? '' : formatServerUrl(host, bound.port);
  logger.info({ url, mirror: mirrorDirectory, workers }, 'serving');
  const server = wrapServer({ url, port: bound?.port ?? 0, workers, fetcher, upstreams }, inner, logger);
  stopOnAbort(server, options.signal);
  return server;
}

/** Loaded only where it is used: a process that merely keeps workers needs nothing of HTTP. */
async function openHere(options: LocalServerOptions): Promise<LocalServer> {
  const { openLocalServer } = await import('./local-server.ts');
  return openLocalServer(options);
}

function targetOf(listen: ServerOptions['listen']): ListenTarget {
  return typeof listen === 'string' ? { address: parseListenAddress(listen) } : { sockets: listen };
}

function wrapServer(
  facts: Pick<RunningServer, 'url' | 'port' | 'workers' | 'upstreams'> & {
    readonly fetcher: FetcherProcess | undefined;
  },
  inner: LocalServer | Workers,
  logger: Logger,
): RunningServer {
  const { promise: closed, resolve: markClosed, reject: markFailed } = Promise.withResolvers<void>();
  closed.catch(() => {});
  if ('lost' in inner) {
    void inner.lost.then(async () => {
      await facts.fetcher?.close();
      markClosed();
    });
  }
  let closing: Promise<void> | undefined;
  return {
    ...facts,
    closed,
    close: async ({ now = false } = {}) => {
      if (closing === undefined) logger.info({ now }, 'stopping');
      else if (!now) return closing;
      // Until the last transfer is through, there may be something to fetch for it.
      const stopped = (now ? inner.closeNow() : inner.close()).then(() => facts.fetcher?.close());
      closing ??= stopped.then(() => logger.info('stopped'));
      closing.then(markClosed, markFailed);
      await Promise.all([stopped, closing]);
    },
  };
}

function stopOnAbort(server: RunningServer, signal: AbortSignal | undefined): void {
  if (signal === undefined) return;
  const stop = (): void => void server.close().catch(() => {});
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
  const forget = (): void => signal.removeEventListener('abort', stop);
  server.closed.then(forget, forget);
}

function checkWorkers(count: number): number {
  if (Number.isInteger(count) && count >= 1 && count <= LIMITS.workers) return count;
  throw new NixferryError('usage', `${count} is not a number of workers`, {
    hint: `give a number from 1 to ${LIMITS.workers}, or none for one on each core`,
  });
}

function checkPriority(priority: number): number {
  if (Number.isInteger(priority) && priority >= 0 && priority <= 1_000_000) return priority;
  throw new NixferryError('usage', `${priority} is not a priority`, {
    hint: 'give a whole number from 0; caches with a lower one are asked first, and cache.nixos.org has 40',
  });
}
