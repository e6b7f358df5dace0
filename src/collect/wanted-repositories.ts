import { BlockList, isIP } from 'node:net';
import { mapConcurrent } from '../base/concurrency.ts';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Miss } from '../mirror/misses.ts';
import { parseRepositoryAddress } from '../mirror/repository-address.ts';
import type { WantedRepository } from './resolve-roots.ts';

export interface WantedRepositoriesInputs {
  /** Address by place, of the repositories that roots of the mirror name already. */
  readonly known: ReadonlyMap<string, string>;
  /** The addresses of a host; none where it has none. */
  lookUp(host: string): Promise<readonly string[]>;
  /** Throws `upstream-unreachable`, `upstream-incomplete` for what cannot be had as it is wanted. */
  probe(wanted: WantedRepository): Promise<void>;
  readonly signal: AbortSignal;
}

export interface ChosenRepositories {
  readonly wanted: readonly WantedRepository[];
  /** What a person must name, who knows whether it may be carried. */
  readonly toName: readonly Miss[];
}

/**
 * Decides which of the repositories that clients of a site asked for are fetched although nobody on this side has named them. Whoever holds the site must
 * not be able to make this side hand over what is not public: so it is what anybody can have from a public host by https without credentials, and
 * besides what was named on this side before. What cannot be had so is left to be named.
 */
export async function chooseWantedRepositories(
  misses: readonly Miss[],
  inputs: WantedRepositoriesInputs,
): Promise<ChosenRepositories> {
  const repositories = misses.filter(({ kind }) => kind === 'repository');
  const toName: Miss[] = repositories.slice(LIMITS.wantedRepositories);
  const wanted: WantedRepository[] = [];
  await mapConcurrent(
    repositories.slice(0, LIMITS.wantedRepositories),
    PROBES_AT_ONCE,
    async (miss) => {
      const repository = await choose(miss, inputs);
      if (repository === undefined) toName.push(miss);
      else wanted.push(repository);
    },
    inputs.signal,
  );
  return {
    wanted: wanted.toSorted((a, b) => (a.place < b.place ? -1 : 1)),
    toName: toName.toSorted((a, b) => b.count - a.count),
  };
}

const PROBES_AT_ONCE = 4;

async function choose(
  { name }: Miss,
  { known, lookUp, probe, signal }: WantedRepositoriesInputs,
): Promise<WantedRepository | undefined> {
  const address = parseRepositoryAddress(`https://${name}`);
  if (address?.place !== `${name}.git`) return undefined;
  const named = known.get(address.place);
  const [host = ''] = address.place.split('/');
  if (named === undefined && !(await isPublic(host, lookUp))) return undefined;
  const { place } = address;
  // Clients may have written either; hosts want the one, the other, or redirect.
  const urls = [`${address.url}.git`, address.url];
  const candidates: readonly WantedRepository[] =
    named === undefined ? urls.map((url) => ({ url, place, isAnonymous: true })) : [{ url: named, place }];
  for (const wanted of candidates) {
    try {
      await probe(wanted);
      return wanted;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof NixferryError)) throw error;
    }
  }
  return undefined;
}

async function isPublic(host: string, lookUp: WantedRepositoriesInputs['lookUp']): Promise<boolean> {
  const addresses = isPublicName(host) ? await lookUp(host) : [];
  return addresses.length > 0 && addresses.every(isPublicAddress);
}

/** A name that is the same for everybody: of several parts, no address, and not in a domain that is each network's own. No port either. */
export function isPublicName(host: string): boolean {
  const parts = host.split('.');
  const last = parts.at(-1) ?? '';
  return parts.length > 1 && isIP(host) === 0 && /^[a-z][a-z0-9-]+$/.test(last) && !OWN_DOMAINS.has(last);
}

const OWN_DOMAINS: ReadonlySet<string> = new Set(
  'local localhost localdomain internal intranet lan home corp private test invalid example onion arpa'.split(' '),
);

/** Not in a network that only some can reach. */
export function isPublicAddress(address: string): boolean {
  const family = isIP(address);
  if (family === 4) return !OWN_NETWORKS.check(address, 'ipv4');
  return family === 6 && !OWN_NETWORKS_OF_6.check(address, 'ipv6');
}

const OWN_NETWORKS = new BlockList();
for (const [network, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
  ['224.0.0.0', 3],
] as const) {
  OWN_NETWORKS.addSubnet(network, bits, 'ipv4');
}

/** With those that stand for addresses of version 4; a list of both would take these for the same. */
const OWN_NETWORKS_OF_6 = new BlockList();
for (const [network, bits] of [
  ['::', 64],
  ['64:ff9b::', 96],
  ['fc00::', 7],
  ['fe80::', 10],
  ['fec0::', 10],
  ['ff00::', 8],
] as const) {
  OWN_NETWORKS_OF_6.addSubnet(network, bits, 'ipv6');
}
