import { EXIT } from '../base/errors.ts';
import type { Output } from './output.ts';

export interface Signals {
  readonly signal: AbortSignal;
  stop(): void;
}

/** The first Ctrl-C (or SIGTERM) asks the work to stop cleanly, the second ends the process at once. */
export function handleSignals(owner: NodeJS.Process, output: Output): Signals {
  const controller = new AbortController();
  const onSignal = () => {
    if (controller.signal.aborted) owner.exit(EXIT.interrupted);
    // Only for somebody who sits there: the log of a server stays JSON.
    if (owner.stderr.isTTY) output.warn('stopping (again to stop at once)');
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
