import { LIMITS } from '../base/limits.ts';
import { buildApp } from './app.ts';
import { openExpressLane } from './express/express-lane.ts';
import { type Listening, type ListenTarget, listenOn } from './listen.ts';
import { openServeContext, type ServeContextOptions } from './serve-context.ts';

export interface LocalServerOptions extends ServeContextOptions {
  readonly listenOn: ListenTarget;
  readonly shutdownGraceMs?: number | undefined;
}

/** A server in this process. */
export interface LocalServer {
  readonly bound: Listening['bound'];
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
  const lane = openExpressLane(server, { narInfos: context.offered, stopping: stopping.signal });
  await app.ready();
  const listening = await listenOn(server, options.listenOn);

  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => {
    closing ??= closeGently();
    return closing;
  };
  const closeGently = async (): Promise<void> => {
    stopping.abort();
    listening.close();
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
    bound: listening.bound,
    close,
    closeNow: async () => {
      const closed = close();
      lane.closeAll();
      await closed;
    },
  };
}

const IDLE_SWEEP_MS = 50;
