import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { NixferryError } from '../base/errors.ts';
import { readFileIfExists, writeFileAtomic } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { formatPublicKey } from '../nix/index.ts';
import { openPresence } from './present-paths.ts';
import { formatReceipt, parseReceipt, type Receipt, type ReceiptContents, type ReceivedShipment } from './receipt.ts';
import { readAllReceived } from './received.ts';
import { readSiteName } from './site-name.ts';

/**
 * The receipt of the site as it is now: the last one if nothing has changed since, else a new one with the next counter. It is kept in the
 * mirror, `.nixferry/receipts/latest`. Throws `usage` when the mirror does not know yet which site it is.
 */
export async function renewReceipt(mirror: Mirror): Promise<Receipt> {
  const site = await readSiteName(mirror);
  if (site === undefined) {
    throw new NixferryError('usage', `the mirror ${mirror.directory} does not know the name of its site yet`, {
      hint: 'import a shipment first, or name the site: nixferry receipt --site NAME --to DIR',
    });
  }
  const latest = await readLatest(mirror);
  const reached = Math.max(await readCounter(mirror), latest?.header.counter ?? 0);
  const contents = {
    site,
    storeDir: mirror.storeDir,
    shipments: await shipmentsOf(mirror),
    paths: await heldPaths(mirror),
  };
  if (latest?.header.counter === reached && (await isSame(mirror, latest, contents))) return latest;
  const counter = reached + 1;
  const bytes = await formatReceipt({ ...contents, counter }, mirror.secretKey);
  // The number is taken first: no two receipts ever have the same.
  await writeCounter(mirror, counter);
  await writeFileAtomic(latestFile(mirror), bytes);
  return parseReceipt(bytes, latestFile(mirror));
}

/**
 * Hears from a sender which receipt of this site was the last that he saw: the next one gets a higher counter. True when this mirror never gave
 * that receipt, because it was restored from an older backup, or made anew.
 */
export async function hearOfReceipt(mirror: Mirror, counter: number): Promise<boolean> {
  const reached = Math.max(await readCounter(mirror), (await readLatest(mirror))?.header.counter ?? 0);
  if (counter <= reached) return false;
  await writeCounter(mirror, counter);
  return true;
}

const CounterSchema = z.object({ format: z.literal(1), counter: z.int().min(0) });

function receiptsFolder(mirror: Mirror): string {
  return join(mirror.layout.folder, 'receipts');
}

function latestFile(mirror: Mirror): string {
  return join(receiptsFolder(mirror), 'latest');
}

function counterFile(mirror: Mirror): string {
  return join(receiptsFolder(mirror), 'counter.json');
}

async function readLatest(mirror: Mirror): Promise<Receipt | undefined> {
  const bytes = await readFileIfExists(latestFile(mirror), LIMITS.receiptBytes);
  try {
    return bytes === undefined ? undefined : parseReceipt(bytes, latestFile(mirror));
  } catch (error) {
    // It is only a copy: a new one is made.
    if (error instanceof NixferryError && error.code === 'damage') return undefined;
    throw error;
  }
}

async function readCounter(mirror: Mirror): Promise<number> {
  const bytes = await readFileIfExists(counterFile(mirror), LIMITS.keyFileBytes);
  if (bytes === undefined) return 0;
  try {
    return CounterSchema.parse(JSON.parse(bytes.toString())).counter;
  } catch {
    throw new NixferryError('damage', `${counterFile(mirror)} holds no number of a receipt`, {
      hint: `remove ${counterFile(mirror)}; the sender may then have to take the next receipt with nixferry ack --restored`,
    });
  }
}

async function writeCounter(mirror: Mirror, counter: number): Promise<void> {
  await mkdir(receiptsFolder(mirror), { recursive: true });
  await writeFileAtomic(counterFile(mirror), `${JSON.stringify({ format: 1, counter })}\n`);
}

async function shipmentsOf(mirror: Mirror): Promise<ReceivedShipment[]> {
  const records = await readAllReceived(mirror);
  return records
    .map(({ sender, sequence, manifestSha256, isComplete }) => ({
      sender,
      sequence,
      manifestSha256,
      complete: isComplete,
    }))
    .sort((a, b) => b.sequence - a.sequence)
    .slice(0, LIMITS.receiptShipments)
    .sort(bySenderAndSequence);
}

function bySenderAndSequence(a: ReceivedShipment, b: ReceivedShipment): number {
  if (a.sender !== b.sender) return a.sender < b.sender ? -1 : 1;
  return a.sequence - b.sequence || (a.manifestSha256 < b.manifestSha256 ? -1 : 1);
}

/** What clients can have now, whatever was imported once: a mirror restored from a backup says what it holds, not what it held. */
async function heldPaths(mirror: Mirror): Promise<string[]> {
  const presence = await openPresence(mirror);
  const held: string[] = [];
  for await (const path of presence.all()) held.push(path);
  return held.sort();
}

async function isSame(mirror: Mirror, latest: Receipt, contents: Omit<ReceiptContents, 'counter'>): Promise<boolean> {
  const { header } = latest;
  if (!latest.hasSigned || header.siteKey !== formatPublicKey(mirror.publicKey)) return false;
  if (header.site !== contents.site || header.storeDir !== contents.storeDir) return false;
  if (JSON.stringify(header.shipments) !== JSON.stringify(contents.shipments)) return false;
  const text = createHash('sha256');
  for (const path of contents.paths) text.update(`${path}\n`);
  return header.paths.sha256 === text.digest('hex');
}
