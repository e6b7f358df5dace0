import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { readFileIfExists, syncDirectory, writeFileAtomic } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { formatSequence } from './format.ts';
import type { Manifest } from './manifest.ts';
import type { FoundShipment } from './read-shipment.ts';

/**
 * What the site remembers of a shipment that it imported: `.nixferry/received/<sender>/<sequence>-<manifest>.json`, with manifest, signature
 * and inventory beside it.
 */
export type ReceivedRecord = z.infer<typeof ReceivedRecordSchema>;

/** The record of this very shipment; undefined when it was never imported, or the record cannot be read. */
export async function readReceived(
  mirror: Mirror,
  manifest: Manifest,
  manifestSha256: string,
): Promise<ReceivedRecord | undefined> {
  const bytes = await readFileIfExists(`${basePath(mirror, manifest, manifestSha256)}.json`, LIMITS.manifestBytes);
  if (bytes === undefined) return undefined;
  try {
    return ReceivedRecordSchema.parse(JSON.parse(bytes.toString()));
  } catch {
    // It is written anew by the import that asks.
    return undefined;
  }
}

/** Keeps the record and the proof of it; the inventory is moved from where it was staged. */
export async function keepReceived(
  mirror: Mirror,
  shipment: FoundShipment,
  manifest: Manifest,
  inventoryFile: string,
  isComplete: boolean,
): Promise<void> {
  const base = basePath(mirror, manifest, shipment.manifestSha256);
  const folder = receivedFolder(mirror, manifest);
  await mkdir(folder, { recursive: true });
  await writeFileAtomic(`${base}.manifest.json`, shipment.manifestBytes);
  await writeFileAtomic(`${base}.manifest.sig`, shipment.signatureText);
  await rename(inventoryFile, `${base}.inventory.jsonl.zst`);
  await syncDirectory(folder);
  const { site, sender, sequence } = manifest;
  const record: ReceivedRecord = {
    format: 1,
    site,
    sender,
    sequence,
    manifestSha256: shipment.manifestSha256,
    isComplete,
  };
  await writeFileAtomic(`${base}.json`, `${JSON.stringify(record)}\n`);
}

/** Where an import keeps what it needs while it runs; `clearQuarantine` removes it. */
export async function makeQuarantine(mirror: Mirror, manifest: Manifest): Promise<string> {
  const folder = quarantineFolder(mirror, manifest);
  await mkdir(folder, { recursive: true });
  return folder;
}

export async function clearQuarantine(mirror: Mirror, manifest: Manifest): Promise<void> {
  await rm(quarantineFolder(mirror, manifest), { recursive: true, force: true });
}

const ReceivedRecordSchema = z.object({
  format: z.literal(1),
  site: z.string(),
  sender: z.string(),
  sequence: z.int(),
  manifestSha256: z.string(),
  /** Whether every path of it was in the mirror when the import ended. */
  isComplete: z.boolean(),
});

function quarantineFolder(mirror: Mirror, { sender, sequence }: Manifest): string {
  return join(mirror.layout.quarantineFolder, `${sender}-${formatSequence(sequence)}`);
}

function receivedFolder(mirror: Mirror, { sender }: Manifest): string {
  return join(mirror.layout.folder, 'received', sender);
}

// The digest keeps apart what a sender numbered twice, after he was restored from a backup.
function basePath(mirror: Mirror, manifest: Manifest, manifestSha256: string): string {
  return join(receivedFolder(mirror, manifest), `${formatSequence(manifest.sequence)}-${manifestSha256.slice(0, 16)}`);
}
