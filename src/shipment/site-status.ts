import type { Mirror } from '../mirror/mirror.ts';
import { knownSiteNames, readAcknowledged } from './known-sites.ts';
import { readSentShipments } from './sent.ts';

/** What a sender knows of a site. Sequences are ascending. */
export interface SiteStatus {
  readonly site: string;
  /** The last shipment that was made; undefined when there was none. */
  readonly lastSequence: number | undefined;
  /** The counter of the last receipt that was acknowledged; undefined when there was none. */
  readonly receiptCounter: number | undefined;
  /** How many paths that receipt lists. */
  readonly receiptPaths: number | undefined;
  /** The latest shipment that the receipt says to have arrived whole. */
  readonly acknowledged: number | undefined;
  /** Those after it. */
  readonly unacknowledged: readonly number[];
  /** Those before it that did not arrive, or only in part. What they brought may have come with later ones. */
  readonly lost: readonly number[];
}

/** All sites that a mirror feeds, by name. */
export async function siteStatuses(mirror: Mirror): Promise<readonly SiteStatus[]> {
  const names = await knownSiteNames(mirror);
  return Promise.all(names.map((site) => siteStatus(mirror, site)));
}

async function siteStatus(mirror: Mirror, site: string): Promise<SiteStatus> {
  const header = (await readAcknowledged(mirror, site))?.header;
  const arrived = new Set(header?.shipments.filter(({ complete }) => complete).map((one) => one.manifestSha256));
  const sent = (await readSentShipments(mirror, site)).toReversed();
  const hasArrived = sent.map(({ manifestSha256 }) => arrived.has(manifestSha256));
  const lastArrived = hasArrived.lastIndexOf(true);
  const sequences = sent.map(({ manifest }) => manifest.sequence);
  return {
    site,
    lastSequence: sequences.at(-1),
    receiptCounter: header?.counter,
    receiptPaths: header?.paths.count,
    acknowledged: sequences[lastArrived],
    unacknowledged: sequences.slice(lastArrived + 1),
    lost: sequences.slice(0, lastArrived + 1).filter((_sequence, index) => hasArrived[index] !== true),
  };
}
