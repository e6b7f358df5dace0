import type { Mirror } from '../mirror/mirror.ts';
import { recordRoots, witnessesOf } from './import-roots.ts';
import { checkInventory } from './inventory-check.ts';
import { readInventory } from './inventory-file.ts';
import { findPresent, findPresentFiles, type Presence } from './present-paths.ts';
import { lackingOf, type ReceivedRecord, readAllReceived, readReceivedShipment, writeReceived } from './received.ts';

/** An earlier shipment that had come in part, and of which roots are whole now. */
export interface HealedShipment {
  readonly sender: string;
  readonly sequence: number;
  /** Whether nothing of it is missing any more. */
  readonly complete: boolean;
  /** The names of those of its roots that are whole. */
  readonly roots: readonly string[];
}

/**
 * Looks again at shipments that were imported in part: what they lacked may have come with another one, as after a lost medium or out of order.
 * One of which nothing that is known to be missing has come is not read.
 */
export async function healReceived(
  mirror: Mirror,
  presence: Presence,
  signal: AbortSignal | undefined,
): Promise<HealedShipment[]> {
  const healed: HealedShipment[] = [];
  for (const record of await readAllReceived(mirror)) {
    signal?.throwIfAborted();
    if (!(await hasAnyPath(presence, record.missing)) && !(await hasAnyFile(mirror, record.missingFiles))) continue;
    const one = await healOne(mirror, record, presence, signal);
    if (one !== undefined) healed.push(one);
  }
  return healed;
}

async function hasAnyPath(presence: Presence, paths: readonly string[]): Promise<boolean> {
  for (const path of paths) if ((await presence.find(path)) !== undefined) return true;
  return false;
}

async function hasAnyFile({ storage }: Mirror, names: readonly string[]): Promise<boolean> {
  for (const name of names) if ((await storage.stat(name)) !== undefined) return true;
  return false;
}

async function healOne(
  mirror: Mirror,
  record: ReceivedRecord,
  presence: Presence,
  signal: AbortSignal | undefined,
): Promise<HealedShipment | undefined> {
  const kept = await readReceivedShipment(mirror, record);
  if (kept === undefined) return undefined;
  const { manifest, inventoryFile } = kept;
  const inventory = await checkInventory(readInventory(inventoryFile, manifest.inventory, signal), manifest);
  const paths = await findPresent(presence, inventory.paths);
  const needs = await findPresent(presence, inventory.needs);
  const roots = await recordRoots(mirror, manifest, inventory, { paths: paths.present, needs: needs.present });
  const presentFiles = await findPresentFiles(mirror, inventory.files, paths.otherBuilds);
  const lacking = lackingOf(witnessesOf(roots), inventory.files, presentFiles);
  const isComplete = lacking.missing.length === 0;
  await writeReceived(mirror, { ...record, isComplete, ...lacking });
  return {
    sender: record.sender,
    sequence: record.sequence,
    complete: isComplete && lacking.missingFiles.length === 0,
    roots: roots.filter(({ complete }) => complete).map(({ name }) => name),
  };
}
