import { formatBytes } from '../base/amounts.ts';
import { NixferryError } from '../base/errors.ts';
import { freeBytes } from '../base/files.ts';
import { ignoreProgress, type OnProgress } from '../base/progress.ts';
import { checkKeyName } from '../mirror/keys.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { readTrustedKeys, trustKey } from '../mirror/trusted-keys.ts';
import type { PublicKey } from '../nix/index.ts';
import { shipmentName } from './format.ts';
import { type HealedShipment, healReceived } from './heal-received.ts';
import { type ImportedRoot, recordRoots, witnessesOf } from './import-roots.ts';
import { importStream } from './import-stream.ts';
import type { ImportFailure } from './import-work.ts';
import { type CheckedInventory, checkInventory } from './inventory-check.ts';
import { readInventory } from './inventory-file.ts';
import { walkInventory } from './inventory-walk.ts';
import { keepRehearsals } from './keep-rehearsals.ts';
import type { Manifest } from './manifest.ts';
import { MediumReader } from './medium-reader.ts';
import { findPresent, findPresentFiles, openPresence } from './present-paths.ts';
import {
  type FoundShipment,
  type FoundVolume,
  findVolumes,
  manifestOfShipment,
  readShipment,
} from './read-shipment.ts';
import type { Receipt } from './receipt.ts';
import { clearQuarantine, keepReceived, lackingOf, readReceived } from './received.ts';
import { hearOfReceipt, renewReceipt } from './renew-receipt.ts';
import { authenticate } from './sender.ts';
import { readSiteName, writeSiteName } from './site-name.ts';
import { stageInventory } from './stage-inventory.ts';
import { StreamWalker } from './stream-layout.ts';
import { openWaitingFiles } from './waiting-files.ts';

export interface ImportOptions {
  /** Open for writing. */
  readonly mirror: Mirror;
  /** Folders that hold the shipment, or its volumes; nothing is ever written to them. */
  readonly directories: readonly string[];
  /** Keys of senders that the user vouches for now; that of this shipment, if among them, is trusted from then on. */
  readonly trust?: readonly PublicKey[] | undefined;
  /** The name of this site; the mirror remembers it from the first import on. */
  readonly site?: string | undefined;
  /** Whether each path needs a signature by a trusted upstream key, or a content address that holds. */
  readonly requireOriginSignature?: boolean | undefined;
  /** Upstream keys that are trusted beside those of the mirror. */
  readonly originKeys?: readonly PublicKey[] | undefined;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface ImportResult {
  /** Where the manifest was found. */
  readonly folder: string;
  readonly manifest: Manifest;
  readonly manifestSha256: string;
  readonly sender: PublicKey;
  /** The very same shipment was imported as a whole before, and all of it is still there: nothing was done. */
  readonly alreadyImported: boolean;
  /** Paths that are visible by this import and were not before. */
  readonly importedPaths: number;
  /** Paths that the mirror had already. */
  readonly presentPaths: number;
  /** Base names of those of them, and of the needs, that the mirror has from another build, with other contents; they stay as they are. */
  readonly otherBuilds: readonly string[];
  readonly roots: readonly ImportedRoot[];
  /** What the shipment builds on and the mirror does not hold: base names, and the shipment that brought each, as far as the sender knows. */
  readonly missingNeeds: readonly { readonly path: string; readonly sequence: number | undefined }[];
  /** Earlier shipments that had come in part and are the better for this one. */
  readonly healed: readonly HealedShipment[];
  /** What the site says now of what it holds; the mirror keeps it. */
  readonly receipt: Receipt;
  /** The sender knows of receipts that this mirror never gave: it was restored from an older backup, or made anew. */
  readonly seemsRestored: boolean;
  /** What could not be taken in; `importProblem` puts it in words and gives the exit code. */
  readonly failures: readonly ImportFailure[];
}

/**
 * Imports a shipment: signature, site, space, then the stream, checked and published path by path; the medium is only read. Killed at any point,
 * the same call finishes the work. A missing or damaged volume does not stop the rest: see `importProblem`.
 * Throws `not-a-shipment`, `not-trusted`, `newer-format`, `wrong-site`, `store-dir-mismatch`, `no-space`, `damage` (of manifest or inventory).
 */
export async function importShipment(options: ImportOptions): Promise<ImportResult> {
  const { mirror, signal, onProgress = ignoreProgress } = options;
  const shipment = await readShipment(options.directories);
  const sender = authenticate(shipment, [...(await readTrustedKeys(mirror, 'sender')), ...(options.trust ?? [])]);
  checkKeyName(sender.name);
  const manifest = manifestOfShipment(shipment);
  const knownSite = await readSiteName(mirror);
  checkSite(mirror, shipment, manifest, knownSite ?? options.site, options.site);
  checkStoreDir(mirror, shipment, manifest);
  await trustKey(mirror, 'sender', sender);
  if (knownSite === undefined) await writeSiteName(mirror, manifest.site);
  const seemsRestored = await hearOfReceipt(mirror, manifest.receiptCounter);

  onProgress({ type: 'phase', phase: 'check', totalItems: manifest.totals.pathCount });
  const inventoryFile = await stageInventory(mirror, shipment, manifest, signal);
  const readLines = () => readInventory(inventoryFile, manifest.inventory, signal);
  const inventory = await checkInventory(readLines(), manifest);
  const presence = await openPresence(mirror);
  const { present, otherBuilds } = await findPresent(presence, inventory.paths, onProgress);
  const needs = await findPresent(presence, inventory.needs);
  const missingNeeds = inventory.needs
    .filter((_, index) => needs.present[index] !== 1)
    .map(({ path, sequence }) => ({ path, sequence }));
  const presentPaths = countOnes(present);
  const presentFiles = await findPresentFiles(mirror, inventory.files, otherBuilds);
  const presentFileCount = countOnes(presentFiles);
  const received = await readReceived(mirror, manifest, shipment.manifestSha256);
  const isAllHere =
    presentPaths === inventory.paths.length && presentFileCount === inventory.files.length && missingNeeds.length === 0;
  const alreadyImported = received?.isComplete === true && isAllHere;

  let failures: ImportFailure[] = [];
  if (!alreadyImported) {
    const neededBytes = await checkSpace(mirror, shipment, inventory, present);
    onProgress({
      type: 'phase',
      phase: 'import',
      totalItems: inventory.paths.length - presentPaths,
      totalBytes: neededBytes,
    });
    const walker = new StreamWalker(manifest.volumes.map(({ sizeBytes }) => sizeBytes));
    const volumes = await findVolumes(shipment, manifest);
    await using reader = new MediumReader(volumes, walker, signal);
    const streamFailures = await importStream({
      mirror,
      storeDir: manifest.storeDir,
      reader,
      lines: walkInventory(readLines(), manifest),
      present,
      presentFiles,
      waitingFiles: await openWaitingFiles(mirror),
      missingNeeds,
      originKeys: await originKeysOf(options),
      onProgress,
      signal,
    });
    failures = [...wrongSizes(volumes), ...streamFailures];
  }
  const roots = await recordRoots(mirror, manifest, inventory, { paths: present, needs: needs.present });
  if (!alreadyImported) {
    const lacking = lackingOf(witnessesOf(roots), inventory.files, presentFiles);
    await keepReceived(mirror, shipment, manifest, inventoryFile, lacking);
  }
  await keepLogs(mirror, shipment, manifest, onProgress);
  await clearQuarantine(mirror, manifest);
  const importedPaths = countOnes(present) - presentPaths;
  const hasMore = importedPaths > 0 || countOnes(presentFiles) > presentFileCount;
  const healed = hasMore ? await healReceived(mirror, await openPresence(mirror), signal) : [];
  return {
    folder: shipment.folder,
    manifest,
    manifestSha256: shipment.manifestSha256,
    sender,
    alreadyImported,
    importedPaths,
    presentPaths,
    otherBuilds: [...otherBuilds, ...needs.otherBuilds].sort(),
    roots,
    missingNeeds,
    healed,
    receipt: await renewReceipt(mirror),
    seemsRestored,
    failures,
  };
}

/** Room for narinfos, records and the inventory's copy. */
const SPARE_BYTES = 16 * 1024 * 1024;
const NARINFO_BYTES = 4096;

function checkSite(
  mirror: Mirror,
  shipment: FoundShipment,
  { site, sequence }: Manifest,
  expected: string | undefined,
  asked: string | undefined,
): void {
  if (asked !== undefined && expected !== undefined && asked !== expected) {
    throw new NixferryError(
      'wrong-site',
      `the mirror ${mirror.directory} belongs to the site ${expected}, not to ${asked}`,
      {
        hint: 'leave out --site, or name the mirror of the other site with --mirror DIR',
      },
    );
  }
  if (expected === undefined || expected === site) return;
  throw new NixferryError(
    'wrong-site',
    `${shipment.folder} is shipment ${sequence} for the site ${site}; this is ${expected}`,
    {
      hint: `take the medium to ${site}, or ask the sender to pack for ${expected}: nixferry pack --site ${expected}`,
    },
  );
}

async function keepLogs(
  mirror: Mirror,
  shipment: FoundShipment,
  manifest: Manifest,
  onProgress: OnProgress,
): Promise<void> {
  const lacking = await keepRehearsals(mirror, shipment, manifest);
  const isOnDiscs = manifest.volumes.some(({ disc }) => disc !== undefined);
  if (lacking.length === 0 || isOnDiscs) return;
  const message = `${lacking.join(', ')} of the sender's rehearsals cannot be read; nothing else depends on it`;
  onProgress({ type: 'notice', message });
}

function checkStoreDir(mirror: Mirror, shipment: FoundShipment, { site, sequence, storeDir }: Manifest): void {
  if (storeDir === mirror.storeDir) return;
  throw new NixferryError(
    'store-dir-mismatch',
    `${shipment.folder} (${shipmentName(site, sequence)}) holds paths of ${storeDir}; the mirror holds paths of ${mirror.storeDir}`,
    { hint: 'import it into a mirror of its own: --mirror DIR' },
  );
}

/** A volume of the wrong size is damaged even where nothing of what is left of it is. */
function wrongSizes(volumes: readonly FoundVolume[]): ImportFailure[] {
  return volumes.flatMap(({ name, sizeBytes, files }): ImportFailure[] => {
    const found = files[0]?.sizeBytes ?? sizeBytes;
    const reason = `it has ${found} bytes, the manifest says ${sizeBytes}`;
    return found === sizeBytes ? [] : [{ kind: 'damage', volumes: name, member: 'the file itself', reason }];
  });
}

async function checkSpace(
  mirror: Mirror,
  shipment: FoundShipment,
  { paths }: CheckedInventory,
  present: Uint8Array,
): Promise<number> {
  let narBytes = 0;
  let count = 0;
  for (const [index, path] of paths.entries()) {
    if (present[index] === 1) continue;
    narBytes += path.narFileSizeBytes;
    count++;
  }
  const neededBytes = narBytes + count * NARINFO_BYTES + SPARE_BYTES;
  const available = await freeBytes(mirror.directory);
  if (count > 0 && neededBytes > available) {
    throw new NixferryError(
      'no-space',
      `importing ${shipment.folder} needs ${formatBytes(neededBytes)}; ${formatBytes(available)} are free in ${mirror.directory}`,
      { hint: 'make room, or use a mirror on a larger file system with --mirror DIR' },
    );
  }
  return narBytes;
}

async function originKeysOf(options: ImportOptions): Promise<readonly PublicKey[] | undefined> {
  if (options.requireOriginSignature !== true) return undefined;
  return [...(await readTrustedKeys(options.mirror, 'upstream')), ...(options.originKeys ?? [])];
}

function countOnes(flags: Uint8Array): number {
  let count = 0;
  for (const flag of flags) count += flag;
  return count;
}
