import { formatCount } from '../base/amounts.ts';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { hashPartOf, type StorePathBaseName } from '../nix/index.ts';
import { shipmentName } from './format.ts';
import { filesOfShipments } from './held-files.ts';
import type { RootLine } from './inventory.ts';
import { readInventory } from './inventory-file.ts';
import { readKnownSite } from './known-sites.ts';
import type { PackBasis } from './pack-basis.ts';
import type { PackedRoot } from './pack-plan.ts';
import { rootOfLine } from './root-line.ts';
import { readSentShipments, type SentShipment } from './sent.ts';

/**
 * The share of shipments that were lost, to be sent again: their roots as they were then, so that nothing is moved back at the site, and of the paths
 * those that they carried. Throws `usage` for one that was never sent, `upstream-incomplete` when the mirror does not hold all of it any more.
 */
export async function lostShipments(
  mirror: Mirror,
  site: string,
  sequences: readonly number[],
  signal?: AbortSignal,
): Promise<{ readonly roots: readonly PackedRoot[]; readonly basis: PackBasis }> {
  const lost = [...new Set(sequences)].sort((a, b) => a - b);
  if (lost.length > LIMITS.shipmentsLost) {
    throw new NixferryError('usage', `${lost.length} lost shipments are too many to send again at once`, {
      hint: `send everything instead: nixferry pack --site ${site} --full`,
    });
  }
  const sent = await readSentShipments(mirror, site);
  const roots: PackedRoot[] = [];
  const carried = new Set<string>();
  const needed = new Map<string, number | undefined>();
  for (const sequence of lost) {
    const shipment = sent.find(({ manifest }) => manifest.sequence === sequence);
    if (shipment === undefined) throw neverSent(site, sequence, sent);
    roots.push(...(await rootsOf(shipment, carried, needed, signal)));
  }
  for (const path of carried) needed.delete(path);
  await refuseGone(mirror, site, lost, [...carried, ...needed.keys()]);
  const before = Math.max(...lost) - 1;
  const arrived = sent.filter(({ manifest: { sequence } }) => sequence <= before && !lost.includes(sequence));
  return {
    roots,
    basis: {
      stated: needed.size === 0 ? null : { type: 'sequence', sequence: before },
      held: needed,
      heldFiles: filesOfShipments(arrived, signal),
      lost,
      receiptCounter: (await readKnownSite(mirror, site))?.highestCounter ?? 0,
    },
  };
}

/** The roots of a shipment as it stated them; what it carried and what it needed is added to the two collections. */
async function rootsOf(
  { manifest, inventoryFile }: SentShipment,
  carried: Set<string>,
  needed: Map<string, number | undefined>,
  signal: AbortSignal | undefined,
): Promise<PackedRoot[]> {
  const lines: RootLine[] = [];
  const members: StorePathBaseName[][] = [];
  for await (const record of readInventory(inventoryFile, manifest.inventory, signal)) {
    if (record.type === 'root') {
      lines.push(record);
      members.push([]);
    } else if (record.type === 'path' || record.type === 'need') {
      for (const root of record.roots) members[root]?.push(record.path as StorePathBaseName);
      if (record.type === 'path') carried.add(record.path);
      else needed.set(record.path, record.sequence);
    }
  }
  return lines.map((line, position) => {
    const asOf = line.asOf ?? manifest.sequence;
    return Object.assign(rootOfLine(line), { paths: members[position] ?? [], asOf });
  });
}

async function refuseGone(
  mirror: Mirror,
  site: string,
  lost: readonly number[],
  paths: readonly string[],
): Promise<void> {
  const gone: string[] = [];
  for (const path of paths) {
    if (!(await mirror.index.has(hashPartOf(path as StorePathBaseName)))) gone.push(path);
  }
  if (gone.length === 0) return;
  const shown = gone.slice(0, 5).join(', ');
  throw new NixferryError(
    'upstream-incomplete',
    `no longer in ${mirror.directory}: ${formatCount(gone.length, 'path')} of ${lost.map((sequence) => shipmentName(site, sequence)).join(', ')}: ${shown}${gone.length > 5 ? ', …' : ''}`,
    {
      hint: `send what the site lacks of the roots as they are now: nixferry pack --site ${site} --full, or with a receipt of the site, nixferry ack RECEIPT before it`,
    },
  );
}

function neverSent(site: string, sequence: number, sent: readonly SentShipment[]): NixferryError {
  const known = sent.map(({ manifest }) => manifest.sequence);
  return new NixferryError('usage', `shipment ${sequence} for ${site} was never made, or its inventory is not kept`, {
    hint:
      known.length === 0
        ? `nothing was sent to ${site}: see the sites with nixferry status`
        : `shipments ${known.at(-1)} to ${known[0]} are known; with none of them, send everything: nixferry pack --site ${site} --full`,
  });
}
