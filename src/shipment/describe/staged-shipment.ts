import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { INVENTORY_FILE } from '../format.ts';
import type { InventoryRecord } from '../inventory.ts';
import { type CheckedInventory, checkInventory } from '../inventory-check.ts';
import { readInventory } from '../inventory-file.ts';
import type { WalkedLine } from '../inventory-walk.ts';
import type { Manifest } from '../manifest.ts';
import { type FoundShipment, manifestOfShipment, readShipment } from '../read-shipment.ts';
import { copyInventory } from '../stage-inventory.ts';

/** A shipment whose inventory was copied off the medium, so that every reading of it sees the same bytes: those that the manifest names. */
export interface StagedShipment extends AsyncDisposable {
  readonly shipment: FoundShipment;
  readonly manifest: Manifest;
  /** May be called as often as wanted. */
  readInventory(): AsyncIterable<InventoryRecord>;
  /** Checks the inventory against the manifest and itself. Throws `damage`. */
  checkInventory(onLine: (line: WalkedLine) => void): Promise<CheckedInventory>;
}

/**
 * Opens the one shipment in the given folders without a mirror; nothing is written but a copy of the inventory in the system's folder for
 * temporary files, which goes away with the result. Throws `not-a-shipment`, `newer-format`, `damage`.
 */
export async function stageShipment(directories: readonly string[], signal?: AbortSignal): Promise<StagedShipment> {
  const shipment = await readShipment(directories);
  const manifest = manifestOfShipment(shipment);
  const folder = await mkdtemp(join(tmpdir(), 'nixferry-show-'));
  const dispose = () => rm(folder, { recursive: true, force: true });
  const file = join(folder, INVENTORY_FILE);
  try {
    await copyInventory(shipment, manifest, file, signal);
  } catch (error) {
    await dispose();
    throw error;
  }
  const records = () => readInventory(file, manifest.inventory, signal);
  return {
    shipment,
    manifest,
    readInventory: records,
    checkInventory: (onLine) => checkInventory(records(), manifest, onLine),
    [Symbol.asyncDispose]: dispose,
  };
}
