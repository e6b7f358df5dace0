import type { UpstreamState } from '../mirror/upstream-state.ts';

/** One upstream, how it is, and what to do about that: in one line. */
export function describeUpstream({ url, state, reason, next, refused }: UpstreamState): string {
  const why = reason === undefined ? '' : `: ${reason}`;
  const cure = next === undefined ? '' : `; next: ${next}`;
  const times = refused?.answers === 1 ? 'once' : `${refused?.answers} times`;
  const not = refused === undefined ? '' : `; ${times} not passed on, last because ${refused.lastReason}`;
  return `${url} (${state}${why}${cure}${not})`;
}

/** What whoever starts a server with this upstream should know; undefined when it answers. */
export function upstreamWarning({
  url,
  state,
  reason = 'it has not answered yet',
  next,
}: UpstreamState): string | undefined {
  if (state === 'up') return undefined;
  const cure = next === undefined ? '' : `\nnext:  ${next}`;
  if (state === 'unusable') {
    return `the upstream ${url} is of no use as it is: ${reason}. What is here is served all the same, and it is looked at again every half minute${cure}`;
  }
  return `the upstream ${url} does not answer: ${reason}. What is here is served all the same; when it is back, nothing needs to be done${cure}`;
}
