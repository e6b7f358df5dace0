import { hash } from 'node:crypto';
import { copyFile, mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { NixferryError } from '../base/errors.ts';
import { namesIn, readFileIfExists, writeFileAtomic } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { parseBoundedJson } from './bounded-json.ts';
import { formatSequence, isSequence } from './format.ts';
import { firstProblem, type Manifest, parseManifest } from './manifest.ts';

/**
 * What the mirror remembers of a shipment for a site: `.nixferry/sent/<site>/<sequence>.json`, with the manifest and the inventory
 * beside it once it was sealed. `begun` keeps the number from being given twice.
 */
export type SentRecord = z.infer<typeof SentRecordSchema>;

/** All records for a site, by ascending sequence. Throws `damage` for one that cannot be read. */
export async function readSent(mirror: Mirror, site: string): Promise<readonly SentRecord[]> {
  const folder = sentFolder(mirror, site);
  const records: SentRecord[] = [];
  for (const name of await namesIn(folder)) {
    if (!RECORD_NAME.test(name)) continue;
    const file = join(folder, name);
    const bytes = await readFileIfExists(file, LIMITS.manifestBytes);
    if (bytes === undefined) continue;
    const record = SentRecordSchema.safeParse(parseBoundedJson(bytes, 8, file));
    if (!record.success) {
      throw new NixferryError('damage', `${file} is not a record of a shipment: ${firstProblem(record.error)}`, {
        hint: `move ${file} away; the next shipment then takes the number after the highest that is left`,
      });
    }
    records.push(record.data);
  }
  return records.sort((a, b) => a.sequence - b.sequence);
}

export async function writeSent(mirror: Mirror, record: SentRecord): Promise<void> {
  const folder = sentFolder(mirror, record.site);
  await mkdir(folder, { recursive: true });
  await writeFileAtomic(join(folder, `${formatSequence(record.sequence)}.json`), `${JSON.stringify(record)}\n`);
}

/** Keeps manifest and inventory of a shipment that is about to be sealed: what was sent must be known without the medium. */
export async function keepSent(
  mirror: Mirror,
  record: SentRecord,
  manifestBytes: Uint8Array,
  inventoryFile: string,
): Promise<void> {
  const base = join(sentFolder(mirror, record.site), formatSequence(record.sequence));
  const kept = `${base}.inventory.jsonl.zst`;
  await copyFile(inventoryFile, kept);
  {
    // Later shipments build on it: the record must not outlive it in a power cut.
    await using handle = await open(kept, 'r+');
    await handle.sync();
  }
  await writeFileAtomic(`${base}.manifest.json`, manifestBytes);
  await writeSent(mirror, record);
}

/** The manifest that `keepSent` kept, if it is still what the record says. */
export async function readSentManifest(mirror: Mirror, record: SentRecord): Promise<Buffer | undefined> {
  const file = join(sentFolder(mirror, record.site), `${formatSequence(record.sequence)}.manifest.json`);
  const bytes = await readFileIfExists(file, LIMITS.manifestBytes);
  if (bytes === undefined || hash('sha256', bytes) !== record.manifestSha256) return undefined;
  return bytes;
}

/** A shipment that was sealed, as the mirror keeps it. */
export interface SentShipment {
  readonly manifest: Manifest;
  readonly manifestSha256: string;
  readonly inventoryFile: string;
}

/** All shipments that were sealed for a site and of which manifest and inventory are kept, the latest first. */
export async function readSentShipments(mirror: Mirror, site: string): Promise<readonly SentShipment[]> {
  const shipments: SentShipment[] = [];
  for (const record of (await readSent(mirror, site)).toReversed()) {
    const bytes = await readSentManifest(mirror, record);
    if (record.state !== 'sealed' || record.manifestSha256 === undefined || bytes === undefined) continue;
    const base = join(sentFolder(mirror, site), formatSequence(record.sequence));
    const manifest = parseManifest(bytes, `${base}.manifest.json`);
    const inventoryFile = `${base}.inventory.jsonl.zst`;
    shipments.push({ manifest, manifestSha256: record.manifestSha256, inventoryFile });
  }
  return shipments;
}

const RECORD_NAME = /^[0-9]{4,9}\.json$/;

const SentRecordSchema = z.object({
  format: z.literal(1),
  site: z.string(),
  sequence: z.number().refine(isSequence, 'not a sequence number'),
  /** Ties the record to the folder that is being written: the same text stands in its UNFINISHED.json. */
  attempt: z.string(),
  state: z.enum(['begun', 'sealed']),
  /** Of the manifest, in hex; from the moment before it is written. */
  manifestSha256: z.string().exactOptional(),
});

function sentFolder(mirror: Mirror, site: string): string {
  return join(mirror.layout.folder, 'sent', site);
}
