import { join } from 'node:path';
import { namesIn, readFileIfExists } from '../../base/files.ts';
import { LIMITS } from '../../base/limits.ts';
import type { Mirror } from '../../mirror/mirror.ts';
import { readInventory } from '../inventory-file.ts';
import { readAcknowledged } from '../known-sites.ts';
import { type Manifest, parseManifest } from '../manifest.ts';
import { readSentShipments, type SentShipment } from '../sent.ts';
import { heldLines, heldPath, isSameRoot } from './held-lines.ts';
import type { HeldPath, HeldPaths } from './shipment-diff.ts';

/** A shipment of which a mirror kept manifest and inventory. */
export type KeptShipment = Pick<SentShipment, 'manifest' | 'inventoryFile'>;

/**
 * What this mirror has sealed for the site before the given shipment, as far as that takes it to have arrived: up to the sequence that it builds on;
 * what the receipt that it builds on lists, if that is still the last one here; without what it sends again as lost. The latest first.
 */
export async function readEarlierSent(mirror: Mirror, manifest: Manifest): Promise<KeptShipment[]> {
  const { site, basis, lost } = manifest;
  const sent = earlierThan(await readSentShipments(mirror, site), manifest.sequence);
  const arrived = basis?.type === 'receipt' ? await arrivedBy(mirror, site, basis.digest) : undefined;
  return sent.filter(({ manifest: { sequence }, manifestSha256 }) => {
    if (lost.includes(sequence)) return false;
    if (basis?.type === 'sequence') return sequence <= basis.sequence;
    return arrived === undefined || arrived.has(manifestSha256);
  });
}

/** The hashes of the manifests that a receipt lists; undefined when it is not the one that is kept. */
async function arrivedBy(mirror: Mirror, site: string, digest: string): Promise<ReadonlySet<string> | undefined> {
  const receipt = await readAcknowledged(mirror, site);
  if (receipt?.digest !== digest) return undefined;
  return new Set(receipt.header.shipments.map(({ manifestSha256 }) => manifestSha256));
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
    for await (const line of heldLines(readInventory(inventoryFile, manifest.inventory, signal))) {
      const isWanted = after.has(line.path) || line.roots.some((root) => latest.has(root));
      if (isWanted && !held.has(line.path)) held.set(line.path, heldPath(line));
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

function earlierThan<Kept extends KeptShipment>(kept: readonly Kept[], sequence: number): Kept[] {
  return kept
    .filter(({ manifest }) => manifest.sequence < sequence)
    .sort((a, b) => b.manifest.sequence - a.manifest.sequence);
}
