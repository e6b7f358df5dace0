import { EXIT } from '../base/errors.ts';
import type { Output } from './output.ts';

export interface Signals {
  readonly signal: AbortSignal;
  stop(): void;
}

/** What follows this soon is the same signal once more, passed on by a launcher; nobody types as fast. */
const SAME_SIGNAL_MS = 250;

/**
 * The first Ctrl-C or SIGTERM asks the work to stop cleanly; another Ctrl-C ends the process at once. Another SIGTERM does not: service
 * managers send it to the launcher, which passes it on, and to this process as well.
 */
export function handleSignals(owner: NodeJS.Process, output: Output): Signals {
  const controller = new AbortController();
  let firstMs = 0;
  const onSignal = (name: NodeJS.Signals) => {
    if (controller.signal.aborted) {
      if (name === 'SIGINT' && performance.now() - firstMs > SAME_SIGNAL_MS) owner.exit(EXIT.interrupted);
      return;
    }
    // Only for somebody who sits there: the log of a server stays JSON.
    if (owner.stderr.isTTY) output.warn('stopping (again to stop at once)');
    firstMs = performance.now();
    controller.abort();
  };
  owner.on('SIGINT', onSignal);
  owner.on('SIGTERM', onSignal);
  return {
    signal: controller.signal,
    stop() {
      owner.off('SIGINT', onSignal);
      owner.off('SIGTERM', onSignal);
    },
  };
}
