import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { NixferryError } from '../base/errors.ts';
import { freeBytes, syncDirectory, writeFileAtomic } from '../base/files.ts';
import { ignoreProgress, type OnProgress } from '../base/progress.ts';
import type { Mirror } from '../mirror/mirror.ts';
import type { RootRecord } from '../mirror/roots.ts';
import { type ChecksummedFile, formatChecksums } from './checksums.ts';
import {
  CHECKSUMS_FILE,
  checkSiteName,
  checkVolumeSize,
  INVENTORY_FILE,
  MANIFEST_FILE,
  READ_ME_FILE,
  SIGNATURE_FILE,
  TOOLS_FOLDER,
  UNFINISHED_FILE,
  VOLUME_BYTES_DEFAULT,
  VOLUMES_FOLDER,
  volumeNames,
} from './format.ts';
import { formatSize } from './format-size.ts';
import type { RootLine } from './inventory.ts';
import { type InventorySummary, writeInventory } from './inventory-file.ts';
import { formatManifest, type Manifest, type ManifestVolume } from './manifest.ts';
import { signManifest } from './manifest-signature.ts';
import { inventoryRecords, rootLines } from './pack-inventory.ts';
import { makeManifest } from './pack-manifest.ts';
import { volumeSizesOf } from './pack-members.ts';
import { type PackPlan, planPack } from './pack-plan.ts';
import { writeStream } from './pack-stream.ts';
import { openPackTarget, type PackJournal, type PackTarget, writeJournal } from './pack-target.ts';
import { checkReadBack } from './read-back.ts';
import { formatReadMe } from './read-me.ts';
import { keepSent } from './sent.ts';
import { type Tools, writeTools } from './tools.ts';
import { VolumeWriter } from './volume-writer.ts';

export interface PackOptions {
  /** Open for writing: it signs, and remembers what was sent. */
  readonly mirror: Mirror;
  readonly roots: readonly RootRecord[];
  /** The folder, on the medium as a rule, in which the shipment's own folder is made. */
  readonly to: string;
  readonly site: string;
  /** Default 512 MiB. */
  readonly volumeSizeBytes?: number | undefined;
  /** Nixferry itself, to be carried along; none where the other side has it. */
  readonly tools?: Tools | undefined;
  /** Program and version, for people. */
  readonly generator: string;
  /** For people: nothing is decided by it. */
  readonly created: Date;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface PackResult {
  readonly folder: string;
  readonly manifest: Manifest;
  /** In hex; names the shipment beyond doubt. */
  readonly manifestSha256: string;
  /** Volumes that an earlier, interrupted attempt had written and that were only read back this time. */
  readonly reusedVolumes: number;
}

/**
 * Writes a shipment of the roots for a site and reads it back. The manifest is written last: a folder without one is no shipment, and the
 * same call goes on with it. Throws `usage`, `upstream-incomplete` (a root is not complete), `damage` (of the mirror, or of the medium),
 * `target-occupied`, `no-space`.
 */
export async function packShipment(options: PackOptions): Promise<PackResult> {
  const { mirror, roots, signal, onProgress = ignoreProgress } = options;
  const site = checkSiteName(options.site);
  const volumeSizeBytes = checkVolumeSize(options.volumeSizeBytes ?? VOLUME_BYTES_DEFAULT);
  if (roots.length === 0) {
    throw new NixferryError('usage', `the mirror ${mirror.directory} has no roots to pack`, {
      hint: 'collect something first: nixferry collect ROOT…',
    });
  }
  const plan = await planPack(mirror, roots, onProgress, signal);
  const sizes = volumeSizesOf(plan, volumeSizeBytes);
  const target = await openPackTarget(mirror, options.to, site);
  const work: PackWork = { ...options, site, onProgress, plan, target, volumeSizeBytes, lines: rootLines(plan) };
  await checkSpace(work, sizes);
  const inventory = await writeInventory(
    join(target.folder, INVENTORY_FILE),
    inventoryRecords(mirror, plan, work.lines, volumeSizeBytes),
    signal,
  );
  const written = await writeVolumes(work, inventory, sizes);
  if (options.tools !== undefined) await writeTools(options.tools, join(target.folder, TOOLS_FOLDER), signal);
  const tools = options.tools?.files ?? [];
  const manifest = makeManifest({ ...work, ...target, inventory, volumes: written.volumes, tools });
  const manifestSha256 = await seal(work, manifest);
  return { folder: target.folder, manifest, manifestSha256, reusedVolumes: written.reused };
}

interface PackWork extends PackOptions {
  readonly onProgress: OnProgress;
  readonly plan: PackPlan;
  readonly target: PackTarget;
  readonly volumeSizeBytes: number;
  readonly lines: readonly RootLine[];
}

/** Beyond volumes and inventory: manifest, read-me, folders, and what a file system takes for itself. */
const SPARE_BYTES = 4 * 1024 * 1024;
const INVENTORY_BYTES_PER_PATH = 1024;

async function checkSpace({ target, plan, tools }: PackWork, sizes: readonly number[]): Promise<void> {
  const writtenBytes = target.journal.volumes.reduce((total, volume) => total + volume.sizeBytes, 0);
  const volumesBytes = sizes.reduce((total, sizeBytes) => total + sizeBytes, 0);
  const toolsBytes = (tools?.files ?? []).reduce((total, file) => total + file.sizeBytes, 0);
  const neededBytes =
    volumesBytes - writtenBytes + plan.paths.length * INVENTORY_BYTES_PER_PATH + toolsBytes + SPARE_BYTES;
  const available = await freeBytes(target.folder);
  if (neededBytes <= available) return;
  throw new NixferryError(
    'no-space',
    `${target.folder} needs ${formatSize(neededBytes)}; ${formatSize(available)} are free there`,
    { hint: 'take a larger medium, or name fewer roots; then type the command again' },
  );
}

async function writeVolumes(
  work: PackWork,
  inventory: InventorySummary,
  sizes: readonly number[],
): Promise<{ volumes: ManifestVolume[]; reused: number }> {
  const { mirror, plan, target, volumeSizeBytes, onProgress, signal } = work;
  const folder = join(target.folder, VOLUMES_FOLDER);
  const names = volumeNames(target.sequence, sizes.length);
  const planned = sizes.map((sizeBytes, index) => ({ name: names[index] ?? '', sizeBytes }));
  const journal = await readJournalAgain(work, inventory, planned);
  const volumes = [...journal.volumes];
  const reused = volumes.length;
  const totalBytes = sizes.reduce((total, sizeBytes) => total + sizeBytes, 0);
  onProgress({
    type: 'phase',
    phase: 'pack',
    totalItems: plan.paths.filter((path) => !path.isNarShared).length,
    totalBytes,
  });
  const onVolume = async (volume: ManifestVolume): Promise<void> => {
    volumes.push(volume);
    await writeJournal(target.folder, { ...journal, volumes });
  };
  await using writer = new VolumeWriter({ folder, volumes: planned, finishedVolumes: reused, onVolume, signal });
  await writeStream(mirror, plan, volumeSizeBytes, writer, onProgress, signal);
  await writer.finish();
  return { volumes, reused };
}

/** The journal of this attempt, with those volumes that are part of the very same shipment and still read back well. */
async function readJournalAgain(
  { target, signal }: PackWork,
  inventory: InventorySummary,
  planned: readonly Pick<ManifestVolume, 'name' | 'sizeBytes'>[],
): Promise<PackJournal> {
  const volumes: ManifestVolume[] = [];
  const isSame = target.journal.inventorySha256 === inventory.sha256;
  for (const [index, volume] of (isSame ? target.journal.volumes : []).entries()) {
    const { name, sizeBytes } = planned[index] ?? {};
    if (volume.name !== name || volume.sizeBytes !== sizeBytes) break;
    try {
      await checkReadBack(join(target.folder, VOLUMES_FOLDER, volume.name), volume, signal);
    } catch (error) {
      signal?.throwIfAborted();
      // Written anew; if the medium is to blame, that is found out then.
      if (error instanceof Error) break;
      throw error;
    }
    volumes.push(volume);
  }
  const kept = new Set(volumes.map(({ name }) => name));
  for (const { name } of target.journal.volumes) {
    if (!kept.has(name)) await rm(join(target.folder, VOLUMES_FOLDER, name), { force: true });
  }
  const journal = { ...target.journal, inventorySha256: inventory.sha256, volumes };
  await writeJournal(target.folder, journal);
  return journal;
}

/** Writes the small files, the manifest last, and gives the manifest's sha256. */
async function seal({ mirror, target, signal }: PackWork, manifest: Manifest): Promise<string> {
  const { folder } = target;
  const manifestBytes = formatManifest(manifest);
  const manifestSha256 = sha256Hex(manifestBytes);
  const readMe = Buffer.from(formatReadMe(manifest));
  const signature = Buffer.from(signManifest(manifestBytes, mirror.secretKey));
  const files: ChecksummedFile[] = [
    { name: READ_ME_FILE, sha256: sha256Hex(readMe) },
    { name: INVENTORY_FILE, sha256: manifest.inventory.sha256 },
    { name: MANIFEST_FILE, sha256: manifestSha256 },
    { name: SIGNATURE_FILE, sha256: sha256Hex(signature) },
    ...manifest.volumes.map(({ name, sha256 }) => ({ name: `${VOLUMES_FOLDER}/${name}`, sha256 })),
    ...manifest.tools.map(({ name, sha256 }) => ({ name: `${TOOLS_FOLDER}/${name}`, sha256 })),
  ];
  await checkReadBack(join(folder, INVENTORY_FILE), manifest.inventory, signal);
  await writeChecked(folder, READ_ME_FILE, readMe, signal);
  await writeChecked(folder, SIGNATURE_FILE, signature, signal);
  await writeChecked(folder, CHECKSUMS_FILE, Buffer.from(formatChecksums(files)), signal);
  await keepSent(
    mirror,
    { ...target.record, state: 'sealed', manifestSha256 },
    manifestBytes,
    join(folder, INVENTORY_FILE),
  );
  await writeChecked(folder, MANIFEST_FILE, manifestBytes, signal);
  await rm(join(folder, UNFINISHED_FILE));
  await syncDirectory(folder);
  return manifestSha256;
}

async function writeChecked(
  folder: string,
  name: string,
  bytes: Buffer,
  signal: AbortSignal | undefined,
): Promise<void> {
  const file = join(folder, name);
  await writeFileAtomic(file, bytes);
  await checkReadBack(file, { sizeBytes: bytes.length, sha256: sha256Hex(bytes) }, signal);
}

function sha256Hex(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
