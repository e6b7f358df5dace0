import type { RunningServer } from './server.ts';

/**
 * Until the server has stopped: SIGTERM or SIGINT lets running transfers finish, a second one breaks them off.
 * Resolves to the signal that stopped it, or undefined when it was stopped otherwise.
 */
export async function stopOnSignals(
  server: Pick<RunningServer, 'close' | 'closed'>,
  source: Pick<NodeJS.EventEmitter, 'on' | 'off'> = process,
): Promise<NodeJS.Signals | undefined> {
  let first: NodeJS.Signals | undefined;
  const stop = (signal: NodeJS.Signals): void => {
    const now = first !== undefined;
    first ??= signal;
    server.close({ now }).catch(() => {});
  };
  for (const signal of SIGNALS) source.on(signal, stop);
  try {
    await server.closed;
  } finally {
    for (const signal of SIGNALS) source.off(signal, stop);
  }
  return first;
}

const SIGNALS = ['SIGTERM', 'SIGINT'] as const;
