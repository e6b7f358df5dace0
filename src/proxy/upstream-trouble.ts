import { NixferryError } from '../base/errors.ts';
import { HttpError } from '../base/http-client.ts';
import type { UpstreamState } from '../mirror/upstream-state.ts';

/** What keeps an upstream from being asked. */
export type UpstreamTrouble = Pick<UpstreamState, 'reason' | 'next'> & { readonly state: 'down' | 'unusable' };

/**
 * Tells an upstream that is off, which is normal and passes, from what is not the binary cache that it was given as, which lasts until somebody
 * corrects something.
 */
export function explainTrouble(error: unknown): UpstreamTrouble {
  if (!(error instanceof NixferryError)) return { state: 'down', reason: 'it does not answer' };
  const reason = error instanceof HttpError ? error.what : error.message.replace(/^(?:https?|file):\S*: /, '');
  const next = error.hint;
  return { state: isOff(error) ? 'down' : 'unusable', reason, ...(next === undefined ? {} : { next }) };
}

function isOff(error: NixferryError): boolean {
  if (!(error instanceof HttpError)) return false;
  const { failure, status = 0 } = error;
  if (failure !== 'status') return failure !== 'redirect' && failure !== 'refused' && failure !== 'too-large';
  return status >= 500 || PASSING.has(status);
}

/** Of those that say that it is the question that is wrong. */
const PASSING: ReadonlySet<number> = new Set([408, 425, 429]);
