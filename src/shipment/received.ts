import { hash } from 'node:crypto';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { systemErrorCode } from '../base/errors.ts';
import { readFileIfExists, syncDirectory, writeFileAtomic } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { formatSequence } from './format.ts';
import { type Manifest, parseManifest } from './manifest.ts';
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
  return readRecord(`${basePath(mirror, manifest, manifestSha256)}.json`);
}

/** The records of all shipments that were imported, sorted by sender and sequence; those that cannot be read are left out. */
export async function readAllReceived(mirror: Mirror): Promise<readonly ReceivedRecord[]> {
  const folder = join(mirror.layout.folder, 'received');
  const records: ReceivedRecord[] = [];
  for (const sender of await namesIn(folder)) {
    for (const name of await namesIn(join(folder, sender))) {
      if (!RECORD_NAME.test(name)) continue;
      const record = await readRecord(join(folder, sender, name));
      if (record?.sender === sender) records.push(record);
    }
  }
  return records;
}

/** Manifest and inventory of a shipment that was imported; undefined when the manifest is not what the record says. */
export async function readReceivedShipment(
  mirror: Mirror,
  record: ReceivedRecord,
): Promise<{ readonly manifest: Manifest; readonly inventoryFile: string } | undefined> {
  const base = basePath(mirror, record, record.manifestSha256);
  const bytes = await readFileIfExists(`${base}.manifest.json`, LIMITS.manifestBytes);
  if (bytes === undefined || hash('sha256', bytes) !== record.manifestSha256) return undefined;
  return { manifest: parseManifest(bytes, `${base}.manifest.json`), inventoryFile: `${base}.inventory.jsonl.zst` };
}

export async function writeReceived(mirror: Mirror, record: ReceivedRecord): Promise<void> {
  await writeFileAtomic(`${basePath(mirror, record, record.manifestSha256)}.json`, `${JSON.stringify(record)}\n`);
}

/** What a shipment lacks: of each root that is not whole a path, and of the small files one. */
export type Lacking = Pick<ReceivedRecord, 'missing' | 'missingFiles'>;

/** From a path of each root that is not whole, and from which small files are there, by position. */
export function lackingOf(missing: string[], files: readonly string[], presentFiles: Uint8Array): Lacking {
  const missingFile = files[presentFiles.indexOf(0)];
  return { missing, missingFiles: missingFile === undefined ? [] : [missingFile] };
}

/** Keeps the record and the proof of it; the inventory is moved from where it was staged. */
export async function keepReceived(
  mirror: Mirror,
  shipment: FoundShipment,
  manifest: Manifest,
  inventoryFile: string,
  lacking: Lacking,
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
    isComplete: lacking.missing.length === 0,
    ...lacking,
  };
  await writeReceived(mirror, record);
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
  /** Whether every path of its roots was in the mirror when that was last looked at. */
  isComplete: z.boolean(),
  /** Of each root that was not whole, a path that it lacked: as long as none of these comes, nothing has changed. */
  missing: z.array(z.string()).default([]),
  /** One of the small files that it lacked, if it lacked any. */
  missingFiles: z.array(z.string()).default([]),
});

const RECORD_NAME = /^[0-9]{4,9}-[0-9a-f]{16}\.json$/;

async function readRecord(file: string): Promise<ReceivedRecord | undefined> {
  const bytes = await readFileIfExists(file, LIMITS.manifestBytes);
  if (bytes === undefined) return undefined;
  try {
    return ReceivedRecordSchema.parse(JSON.parse(bytes.toString()));
  } catch {
    // It is written anew by the next import of the shipment.
    return undefined;
  }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw error;
  }
}

function quarantineFolder(mirror: Mirror, { sender, sequence }: Manifest): string {
  return join(mirror.layout.quarantineFolder, `${sender}-${formatSequence(sequence)}`);
}

function receivedFolder(mirror: Mirror, { sender }: Pick<Manifest, 'sender'>): string {
  return join(mirror.layout.folder, 'received', sender);
}

// The digest keeps apart what a sender numbered twice, after he was restored from a backup.
function basePath(mirror: Mirror, shipment: Pick<Manifest, 'sender' | 'sequence'>, manifestSha256: string): string {
  return join(receivedFolder(mirror, shipment), `${formatSequence(shipment.sequence)}-${manifestSha256.slice(0, 16)}`);
}
