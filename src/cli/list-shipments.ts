import { dirname } from 'node:path';
import { formatBytes, formatCount } from '../base/amounts.ts';
import { quoteForShell } from '../base/shell-word.ts';
import { manifestOfShipment, readShipment, separateShipments } from '../shipment/read-shipment.ts';
import { formatTable } from './format.ts';

/** One of several shipments on a medium, as its manifest states it: nobody has verified who made it. */
export interface ListedShipment {
  /** What to name it by. */
  readonly folder: string;
  readonly site: string;
  readonly sequence: number;
  readonly sender: string;
  readonly created: string;
  readonly paths: number;
  readonly volumesSizeBytes: number;
  readonly roots: readonly string[];
}

const SHOWN_ROOTS = 3;

/** The shipments of a medium that holds several; undefined where it is clear which one is meant. */
export async function listShipments(directory: string): Promise<readonly ListedShipment[] | undefined> {
  const separate = await separateShipments(directory);
  if (separate.length < 2) return undefined;
  const listed: ListedShipment[] = [];
  for (const folders of separate) {
    const { site, sequence, sender, created, totals, roots } = manifestOfShipment(await readShipment(folders));
    const [first = directory, ...others] = folders;
    listed.push({
      // Discs lie in the folder of their shipment.
      folder: others.length === 0 ? first : dirname(first),
      site,
      sequence,
      sender,
      created,
      paths: totals.pathCount,
      volumesSizeBytes: totals.volumesSizeBytes,
      roots: roots.map(({ name }) => name),
    });
  }
  return listed;
}

export function describeShipments(shipments: readonly ListedShipment[]): string {
  const rows = shipments.map(({ folder, sequence, site, created, paths, volumesSizeBytes, roots }) => [
    folder,
    `shipment ${sequence} for ${site}`,
    created,
    formatCount(paths, 'path'),
    formatBytes(volumesSizeBytes),
    [
      ...roots.slice(0, SHOWN_ROOTS),
      ...(roots.length > SHOWN_ROOTS ? [`... and ${roots.length - SHOWN_ROOTS} more`] : []),
    ].join(', '),
  ]);
  return `${formatCount(shipments.length, 'shipment')}, by what they say themselves\n${formatTable(rows, [3, 4])}`;
}

/** What to type for one of them: the latest, in which most people are interested. */
export function nameOne(shipments: readonly ListedShipment[], command: string): string {
  return `name one: ${command} ${quoteForShell(shipments.at(-1)?.folder ?? 'DIR')}`;
}
