import { NixferryError } from '../base/errors.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { filesOfShipments } from './held-files.ts';
import { readInventory } from './inventory-file.ts';
import { readAcknowledged, readKnownSite } from './known-sites.ts';
import { NO_BASIS, type PackBasis } from './pack-basis.ts';
import type { PackedRoot } from './pack-plan.ts';
import { authenticateReceipt, checkReceiptSite, readReceipt } from './read-receipt.ts';
import { type Receipt, receiptPaths } from './receipt.ts';
import { readSentShipments, type SentShipment } from './sent.ts';

/**
 * What `pack` is to build on. `acknowledged`: the last receipt of the site, or nothing where none was acknowledged. `receipt`: the one in a file.
 * `sequence`: all shipments up to one are taken to have arrived, on the word of whoever types it.
 */
export type Since =
  | { readonly type: 'acknowledged' }
  | { readonly type: 'nothing' }
  | { readonly type: 'receipt'; readonly path: string }
  | { readonly type: 'sequence'; readonly sequence: number };

/**
 * Finds out which paths of the roots the site has, and which shipments brought them. Throws `usage` for a sequence that was never sent, and whatever
 * reading a receipt throws.
 */
export async function chooseBasis(
  mirror: Mirror,
  site: string,
  roots: readonly PackedRoot[],
  since: Since,
  signal?: AbortSignal,
): Promise<PackBasis> {
  const receiptCounter = (await readKnownSite(mirror, site))?.highestCounter ?? 0;
  const wanted = new Set<string>(roots.flatMap(({ paths }) => paths));
  if (since.type === 'nothing') return { ...NO_BASIS, receiptCounter };
  if (since.type === 'sequence') {
    const { sequence } = since;
    const sent = await sentUpTo(mirror, site, sequence);
    const held = await claimedPaths(sent, wanted, signal);
    const heldFiles = filesOfShipments(sent, signal);
    return { stated: { type: 'sequence', sequence }, held, heldFiles, lost: [], receiptCounter };
  }
  const receipt =
    since.type === 'receipt' ? await trustedReceipt(mirror, site, since.path) : await readAcknowledged(mirror, site);
  if (receipt === undefined) return { ...NO_BASIS, receiptCounter };
  const { counter } = receipt.header;
  return {
    stated: { type: 'receipt', counter, digest: receipt.digest },
    held: await acknowledgedPaths(mirror, receipt, wanted, signal),
    heldFiles: filesOfShipments(await arrivedShipments(mirror, receipt), signal),
    lost: [],
    receiptCounter: Math.max(receiptCounter, counter),
  };
}

async function trustedReceipt(mirror: Mirror, site: string, path: string): Promise<Receipt> {
  const receipt = await readReceipt(path);
  checkReceiptSite(receipt, site);
  authenticateReceipt(mirror, receipt, await readKnownSite(mirror, site), []);
  return receipt;
}

async function sentUpTo(mirror: Mirror, site: string, sequence: number): Promise<readonly SentShipment[]> {
  const sent = await readSentShipments(mirror, site);
  const last = sent[0]?.manifest.sequence;
  if (last !== undefined && sequence <= last) return sent.filter(({ manifest }) => manifest.sequence <= sequence);
  throw new NixferryError(
    'usage',
    last === undefined
      ? `nothing was sent to ${site} yet, so nothing can have arrived`
      : `shipment ${sequence} for ${site} was never made; the last one is ${last}`,
    { hint: 'name the last shipment that is taken to have arrived with --since SEQUENCE (nixferry status lists them)' },
  );
}

/** What a receipt lists of the wanted paths, each with the latest shipment that brought it, as far as one did. */
async function acknowledgedPaths(
  mirror: Mirror,
  receipt: Receipt,
  wanted: ReadonlySet<string>,
  signal: AbortSignal | undefined,
): Promise<Map<string, number | undefined>> {
  const held = new Map<string, number | undefined>();
  for await (const path of receiptPaths(receipt, signal)) if (wanted.has(path)) held.set(path, undefined);
  let unknown = held.size;
  for (const shipment of await readSentShipments(mirror, receipt.header.site)) {
    // The latest shipments tell of most: what they needed from before, they say where from.
    if (unknown === 0) break;
    for await (const { path, sequence } of heldLines(shipment, signal)) {
      if (!held.has(path) || held.get(path) !== undefined || sequence === undefined) continue;
      held.set(path, sequence);
      unknown--;
    }
  }
  return held;
}

/** Receipts list no small files: those of a shipment are there when all its paths are. */
async function arrivedShipments(mirror: Mirror, { header }: Receipt): Promise<readonly SentShipment[]> {
  const arrived = new Set(header.shipments.filter(({ complete }) => complete).map((one) => one.manifestSha256));
  return (await readSentShipments(mirror, header.site)).filter(({ manifestSha256 }) => arrived.has(manifestSha256));
}

/** What the shipments brought, or needed, of the wanted paths. */
async function claimedPaths(
  shipments: readonly SentShipment[],
  wanted: ReadonlySet<string>,
  signal: AbortSignal | undefined,
): Promise<Map<string, number | undefined>> {
  const held = new Map<string, number | undefined>();
  for (const shipment of shipments) {
    if (held.size === wanted.size) break;
    for await (const { path, sequence } of heldLines(shipment, signal)) {
      if (wanted.has(path) && held.get(path) === undefined) held.set(path, sequence);
    }
  }
  return held;
}

async function* heldLines(
  { manifest, inventoryFile }: SentShipment,
  signal: AbortSignal | undefined,
): AsyncGenerator<{ readonly path: string; readonly sequence: number | undefined }, void, undefined> {
  for await (const record of readInventory(inventoryFile, manifest.inventory, signal)) {
    if (record.type === 'path') yield { path: record.path, sequence: manifest.sequence };
    else if (record.type === 'need') yield { path: record.path, sequence: record.sequence };
  }
}
