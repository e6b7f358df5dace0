import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { systemErrorCode } from '../../base/errors.ts';
import { readFileIfExists } from '../../base/files.ts';
import { LIMITS } from '../../base/limits.ts';
import type { Mirror } from '../../mirror/mirror.ts';
import { readInventory } from '../inventory-file.ts';
import { type Manifest, parseManifest } from '../manifest.ts';
import { readSent } from '../sent.ts';
import { heldLines, isSameRoot } from './held-lines.ts';
import type { HeldPath, HeldPaths } from './shipment-diff.ts';

/** A shipment of which a mirror kept manifest and inventory. */
export interface KeptShipment {
  readonly manifest: Manifest;
  readonly inventoryFile: string;
}

/** What this mirror has sealed for the site before the given shipment, the latest first. */
export async function readEarlierSent(mirror: Mirror, { site, sequence }: Manifest): Promise<KeptShipment[]> {
  const records = await readSent(mirror, site);
  const sealed = new Set(records.filter(({ state }) => state === 'sealed').map((record) => record.sequence));
  const kept = await readKept(join(mirror.layout.folder, 'sent', site));
  return earlierThan(kept, sequence).filter(({ manifest }) => manifest.site === site && sealed.has(manifest.sequence));
}

/** What this mirror has imported from the sender before the given shipment, the latest first. */
export async function readEarlierReceived(
  mirror: Mirror,
  { sender, site, sequence }: Manifest,
): Promise<KeptShipment[]> {
  const kept = await readKept(join(mirror.layout.folder, 'received', sender));
  return earlierThan(kept, sequence).filter(({ manifest }) => manifest.site === site);
}

/**
 * What the site held, according to earlier shipments: the latest version of each root of the shipment, and whatever of `after` was brought by any
 * of them.
 */
export async function heldAfter(
  earlier: readonly KeptShipment[],
  roots: Manifest['roots'],
  after: HeldPaths,
  signal?: AbortSignal,
): Promise<Map<string, HeldPath>> {
  const held = new Map<string, HeldPath>();
  const found = new Set<number>();
  for (const { manifest, inventoryFile } of earlier) {
    const latest = new Set<number>();
    for (const [wanted, root] of roots.entries()) {
      const position = manifest.roots.findIndex((one) => isSameRoot(one, root));
      if (position === -1 || found.has(wanted)) continue;
      found.add(wanted);
      latest.add(position);
    }
    for await (const { roots: memberships, ...path } of heldLines(
      readInventory(inventoryFile, manifest.inventory, signal),
    )) {
      if (held.has(path.path)) continue;
      if (after.has(path.path) || memberships.some((root) => latest.has(root))) held.set(path.path, path);
    }
  }
  return held;
}

const MANIFEST_SUFFIX = '.manifest.json';

async function readKept(folder: string): Promise<KeptShipment[]> {
  const kept: KeptShipment[] = [];
  for (const name of await namesIn(folder)) {
    if (!name.endsWith(MANIFEST_SUFFIX)) continue;
    const file = join(folder, name);
    const bytes = await readFileIfExists(file, LIMITS.manifestBytes);
    if (bytes === undefined) continue;
    const inventoryFile = `${file.slice(0, -MANIFEST_SUFFIX.length)}.inventory.jsonl.zst`;
    kept.push({ manifest: parseManifest(bytes, file), inventoryFile });
  }
  return kept;
}

function earlierThan(kept: readonly KeptShipment[], sequence: number): KeptShipment[] {
  return kept
    .filter(({ manifest }) => manifest.sequence < sequence)
    .sort((a, b) => b.manifest.sequence - a.manifest.sequence);
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return [];
    throw error;
  }
}
