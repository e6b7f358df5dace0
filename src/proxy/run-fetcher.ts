import pino from 'pino';
import { NixferryError } from '../base/errors.ts';
import { openFetcher } from './fetcher.ts';
import { FETCHER_SETTINGS_VARIABLE, type FetcherReport, type FetcherSettings } from './protocol.ts';

/** The process that deals with upstreams: works until the one that started it says so, or is gone. */
export async function runFetcher(): Promise<void> {
  // A terminal and a service manager send these to every process; when to stop is our parent's to say.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
  const parentGone = new Promise<void>((resolve) => {
    process.once('disconnect', resolve);
    process.once('message', () => resolve());
  });
  const settings = JSON.parse(process.env[FETCHER_SETTINGS_VARIABLE] ?? '{}') as FetcherSettings;
  const logger = pino(
    { level: settings.logLevel, base: { pid: process.pid } },
    pino.destination({ fd: 2, sync: true }),
  );
  try {
    const fetcher = await openFetcher(settings, logger);
    report({ type: 'ready', upstreams: fetcher.upstreams() });
    await parentGone;
    const cutOff = setTimeout(() => process.exit(1), CLOSE_MS);
    await fetcher.close();
    clearTimeout(cutOff);
  } catch (error) {
    const known = error instanceof NixferryError ? error : undefined;
    const message = error instanceof Error ? error.message : String(error);
    report({ type: 'failed', code: known?.code, message, hint: known?.hint });
  }
  if (process.connected) process.disconnect();
}

/** What is written at that moment is finished; what is fetched goes on at the next start. */
const CLOSE_MS = 5000;

function report(message: FetcherReport): void {
  process.send?.(message);
}
