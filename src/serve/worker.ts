import { NixferryError } from '../base/errors.ts';
import { explainListenError } from './listen-address.ts';
import { openLocalServer } from './local-server.ts';
import { openServeLog } from './serve-log.ts';
import { isWorkerOrder, WORKER_SETTINGS_VARIABLE, type WorkerReport, type WorkerSettings } from './worker-protocol.ts';

/** One of several serving processes: listens on the primary's socket until told to close. */
export async function runWorker(): Promise<void> {
  // A terminal and a service manager send these to every process; when to stop is the primary's to say.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
  // Before anything else: the order may come while the mirror is still being opened.
  const closeOrdered = new Promise<void>((resolve) => {
    process.on('message', (message) => {
      if (isWorkerOrder(message)) resolve();
    });
  });
  const settings = JSON.parse(process.env[WORKER_SETTINGS_VARIABLE] ?? '{}') as WorkerSettings;
  const logger = openServeLog(settings.logLevel);
  try {
    const server = await openLocalServer({ ...settings, logger });
    report({ type: 'listening', bound: server.bound });
    await closeOrdered;
    await server.close();
    process.disconnect();
  } catch (error) {
    const problem = explainListenError(error, settings.listen);
    const known = problem instanceof NixferryError ? problem : undefined;
    const message = problem instanceof Error ? problem.message : String(problem);
    report({ type: 'failed', code: known?.code, message, hint: known?.hint });
    process.disconnect();
  }
}

function report(message: WorkerReport): void {
  process.send?.(message);
}
