import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import pino, { type Logger } from 'pino';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { explainListenError, formatServerUrl, parseListenAddress } from './listen-address.ts';
import { type LocalServer, openLocalServer } from './local-server.ts';
import { openWorkers } from './workers.ts';

export interface ServerOptions {
  readonly mirrorDirectory: string;
  /** HOST:PORT, :PORT or [IPV6]:PORT; port 0 is any free one. */
  readonly listen: string;
  /** Processes that serve; default one for each core. With 1 this process serves by itself. */
  readonly workers?: number | undefined;
  /** What nix-cache-info says; lower is asked first. Default: as the mirror says, else 30. */
  readonly priority?: number | undefined;
  /** Default: no log. With several workers, each writes its own to stderr at the level of this one. */
  readonly logger?: Logger | undefined;
  /** Stops the server as `close` does. */
  readonly signal?: AbortSignal | undefined;
  /** How long running transfers may take when the server stops. */
  readonly shutdownGraceMs?: number | undefined;
}

export interface RunningServer {
  /** For clients on this machine; with the real port. */
  readonly url: string;
  readonly port: number;
  readonly workers: number;
  /** Resolves when the server has stopped, whoever asked for it. */
  readonly closed: Promise<void>;
  /** Takes no new connections and resolves when the running transfers are through; with `now` breaks them off, also after a first call without. */
  close(options?: { readonly now?: boolean }): Promise<void>;
}

/**
 * Serves a mirror over HTTP as a binary cache. It opens no outgoing connection.
 * Throws `not-a-mirror`, `newer-format`, `address-in-use` or `usage` (address, workers, priority).
 */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  options.signal?.throwIfAborted();
  const address = parseListenAddress(options.listen);
  const workers = checkWorkers(options.workers ?? Math.min(availableParallelism(), LIMITS.workers));
  const priority = options.priority === undefined ? undefined : checkPriority(options.priority);
  const logger = options.logger ?? pino({ level: 'silent' });
  const mirrorDirectory = resolve(options.mirrorDirectory);
  const { shutdownGraceMs, listen } = options;
  const shared = { mirrorDirectory, address, priority, shutdownGraceMs };
  let inner: LocalServer;
  try {
    inner =
      workers === 1
        ? await openLocalServer({ ...shared, logger })
        : await openWorkers({ ...shared, listen, logLevel: logger.level }, workers, logger);
  } catch (error) {
    throw explainListenError(error, listen);
  }
  const url = formatServerUrl(address.host, inner.port);
  logger.info({ url, mirror: mirrorDirectory, workers }, 'serving');
  const server = wrapServer({ url, port: inner.port, workers }, inner, logger);
  stopOnAbort(server, options.signal);
  return server;
}

function wrapServer(
  facts: { readonly url: string; readonly port: number; readonly workers: number },
  inner: LocalServer,
  logger: Logger,
): RunningServer {
  const { promise: closed, resolve: markClosed, reject: markFailed } = Promise.withResolvers<void>();
  closed.catch(() => {});
  let closing: Promise<void> | undefined;
  return {
    ...facts,
    closed,
    close: async ({ now = false } = {}) => {
      if (closing === undefined) logger.info({ now }, 'stopping');
      else if (!now) return closing;
      const stopped = now ? inner.closeNow() : inner.close();
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
