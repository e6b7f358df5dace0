import { formatCount } from '../../base/amounts.ts';
import { LIMITS } from '../../base/limits.ts';
import { parseServerReadiness, READINESS_ADDRESS } from '../../mirror/server-readiness.ts';
import type { UpstreamState } from '../../mirror/upstream-state.ts';
import type { HashPart } from '../../nix/store-path.ts';
import { bounded } from './bounded.ts';
import { below } from './cache-url.ts';
import { type Finding, fine, problem, warning } from './finding.ts';
import type { CacheProbe, ProbeTools } from './probe-cache.ts';

/** What a server says of the caches that it fetches from; empty where it fetches from none, or says nothing. */
export async function askUpstreams(
  url: URL,
  { http, timeoutMs, signal }: ProbeTools,
): Promise<readonly UpstreamState[]> {
  const answer = await bounded(timeoutMs, signal, (limit) =>
    http.getBytes(below(url, READINESS_ADDRESS), {
      maxBytes: LIMITS.serverReadinessBytes,
      signal: limit,
      accept: [503],
    }),
  );
  return ('value' in answer ? parseServerReadiness(answer.value.bytes)?.upstreams : undefined) ?? [];
}

/** Whether a caching proxy among the caches gets what it is asked for. */
export function checkUpstreams({ address, upstreams = [] }: Pick<CacheProbe, 'address' | 'upstreams'>): Finding[] {
  return upstreams.map((upstream) => {
    const { url, state, reason = 'it has not answered yet', refused } = upstream;
    if (state === 'unusable') {
      const text = `${address} is to fetch from ${url}, which is of no use to it: ${reason}`;
      return problem('upstream-unusable', text, { cure: onServer(upstream) });
    }
    if (state !== 'up') {
      const text = `${address} cannot fetch from ${url}: ${reason}. It gives what it has, and nothing else`;
      return warning('upstream-down', text, { cure: onServer(upstream) });
    }
    if (refused !== undefined) {
      const text = `${address} did not pass on what ${url} has (${formatCount(refused.answers, 'time')}), last because ${refused.lastReason}`;
      return warning('upstream-refused', text, { cure: TRUST });
    }
    return fine('upstream', `${address} fetches from ${url}, which answers`);
  });
}

/** Why a cache does not have a path, as far as it can be told. `upstreams`: as they are after it was asked. */
export function explainMissing(address: string, wanted: HashPart, upstreams: readonly UpstreamState[]): Finding {
  const refusing = upstreams.find(({ refused }) => refused?.lastPath.includes(wanted) === true);
  if (refusing?.refused !== undefined) {
    const text = `${address} does not pass ${wanted} on: ${refusing.url} has it, but ${refusing.refused.lastReason}`;
    return problem('path-refused', text, { cure: TRUST });
  }
  const lost = upstreams.filter(({ state }) => state !== 'up');
  if (lost.length > 0) {
    const reasons = lost.map(({ url, reason = 'it has not answered yet' }) => `${url} (${reason})`).join(', ');
    return problem('path-missing', `${address} does not have ${wanted}, and cannot ask ${reasons}`, {
      cure: `${[...new Set(lost.map(onServer))].join('; ')}; then ask again with --refresh`,
    });
  }
  const others = upstreams.map(({ url }) => url).join(', ');
  const neither = upstreams.length === 0 ? '' : `, nor has ${others}, from which it fetches`;
  return problem('path-missing', `${address} does not have ${wanted}${neither}`, {
    cure: 'have it sent: nixferry want on the server writes down what was asked for in vain; or build it there and serve --local-store',
  });
}

function onServer({ state, next }: UpstreamState): string {
  const first = next ?? 'see that its line is up';
  return `on the server: ${first}${state === 'unusable' ? '' : ' (it needs no restart)'}`;
}

const TRUST =
  'if that cache is to be trusted, give its public key on the server: nixferry serve --trusted-public-key NAME:KEY, or nixferry keys trust --for upstream NAME:KEY and start it again';
