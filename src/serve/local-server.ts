import { systemErrorCode } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { buildApp } from './app.ts';
import { openExpressLane } from './express/express-lane.ts';
import type { ListenAddress } from './listen-address.ts';
import { openServeContext, type ServeContextOptions } from './serve-context.ts';

export interface LocalServerOptions extends ServeContextOptions {
  readonly address: ListenAddress;
  readonly shutdownGraceMs?: number | undefined;
}

/** A server in this process. */
export interface LocalServer {
  readonly port: number;
  /** Refuses new connections, waits for running transfers, and breaks off those that take longer than the grace time. */
  close(): Promise<void>;
  /** Breaks everything off. */
  closeNow(): Promise<void>;
}

/** Throws `not-a-mirror`, `newer-format`, and what listening throws. */
export async function openLocalServer(options: LocalServerOptions): Promise<LocalServer> {
  const stopping = new AbortController();
  const context = await openServeContext(options, stopping.signal);
  const app = buildApp(context);
  const { server } = app;
  const lane = openExpressLane(server, context);
  server.maxConnections = LIMITS.connectionsPerWorker;
  await listen(app, options.address);
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new Error('the server has no port');

  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => {
    closing ??= closeGently();
    return closing;
  };
  const closeGently = async (): Promise<void> => {
    stopping.abort();
    // A connection that was busy when the server closed is kept for further requests unless it is swept up once it is idle.
    lane.closeIdle();
    const sweep = setInterval(() => lane.closeIdle(), IDLE_SWEEP_MS);
    const cutOff = setTimeout(() => lane.closeAll(), options.shutdownGraceMs ?? LIMITS.shutdownGraceMs);
    try {
      await app.close();
    } finally {
      clearInterval(sweep);
      clearTimeout(cutOff);
    }
  };
  return {
    port: bound.port,
    close,
    closeNow: async () => {
      const closed = close();
      lane.closeAll();
      await closed;
    },
  };
}

const IDLE_SWEEP_MS = 50;

async function listen(app: ReturnType<typeof buildApp>, { host, port }: ListenAddress): Promise<void> {
  if (host !== undefined) {
    await app.listen({ host, port });
    return;
  }
  try {
    // Takes IPv4 connections too, wherever the system is set up as usual.
    await app.listen({ host: '::', port });
  } catch (error) {
    const code = systemErrorCode(error);
    if (code !== 'EAFNOSUPPORT' && code !== 'EADDRNOTAVAIL') throw error;
    await app.listen({ host: '0.0.0.0', port });
  }
}
