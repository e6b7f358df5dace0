import { readInventory } from './inventory-file.ts';
import type { SentShipment } from './sent.ts';

/** Tells which of the wanted small files, by their names, a site is taken to have. */
export type HeldFiles = (wanted: ReadonlySet<string>) => Promise<ReadonlySet<string>>;

/** Those that came with shipments that have arrived. Inventories are read, the first of `shipments` first, until all that is wanted is found. */
export function filesOfShipments(shipments: Iterable<SentShipment>, signal?: AbortSignal): HeldFiles {
  return async (wanted) => {
    const held = new Set<string>();
    for (const { manifest, inventoryFile } of shipments) {
      if (held.size === wanted.size) break;
      for await (const record of readInventory(inventoryFile, manifest.inventory, signal)) {
        if (record.type === 'file' && wanted.has(record.name)) held.add(record.name);
      }
    }
    return held;
  };
}
