import { hash } from 'node:crypto';
import { copyFile, open, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { explainWriteError } from '../base/errors.ts';
import { syncDirectory, writeFileAtomic } from '../base/files.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { type ChecksummedFile, formatChecksums } from './checksums.ts';
import {
  CHECKSUMS_FILE,
  discFolders,
  INVENTORY_FILE,
  MANIFEST_FILE,
  READ_ME_FILE,
  SIGNATURE_FILE,
  shipmentName,
  TOOLS_FOLDER,
  UNFINISHED_FILE,
  VOLUMES_FOLDER,
} from './format.ts';
import type { RootLine } from './inventory.ts';
import { formatManifest, type Manifest, parseManifest } from './manifest.ts';
import { signManifest } from './manifest-signature.ts';
import type { PackedRehearsal } from './pack-rehearsals.ts';
import { type PackTarget, readJournal } from './pack-target.ts';
import { checkReadBack } from './read-back.ts';
import { formatReadMe } from './read-me.ts';
import { keepSent, readSent, readSentManifest } from './sent.ts';

export interface SealWork {
  readonly mirror: Mirror;
  readonly target: PackTarget;
  readonly lines: readonly RootLine[];
  readonly manifest: Manifest;
  /** What the manifest calls so. */
  readonly installer?: Buffer | undefined;
  /** Those of the manifest. */
  readonly rehearsals?: readonly PackedRehearsal[];
  readonly signal: AbortSignal | undefined;
}

export interface SealedShipment {
  readonly folder: string;
  /** Relative to it: '.', or the folders of the discs. */
  readonly folders: readonly string[];
  readonly manifest: Manifest;
  readonly manifestSha256: string;
}

/**
 * Writes the small files of each disc, or of the one folder, and reads them back; then the manifests. When the mirror has noted what the manifest
 * is, the shipment is decided: whatever happens then, `finishSealed` writes that one and no other.
 */
export async function seal(work: SealWork): Promise<SealedShipment> {
  const { mirror, target, lines, manifest, installer, rehearsals = [], signal } = work;
  const { folder } = target;
  const manifestBytes = formatManifest(manifest);
  const manifestSha256 = hash('sha256', manifestBytes);
  const signature = Buffer.from(signManifest(manifestBytes, mirror.secretKey));
  const folders = foldersOf(manifest);
  for (const [index, name] of folders.entries()) {
    const disc = name === '.' ? undefined : index + 1;
    const part = join(folder, name);
    await placeInventory(folder, part, manifest, signal);
    const readMe = Buffer.from(formatReadMe(manifest, { lines, disc }));
    await writeChecked(part, READ_ME_FILE, readMe, signal);
    await writeChecked(part, SIGNATURE_FILE, signature, signal);
    const own = index === 0 ? manifest.installer : undefined;
    if (own !== undefined && installer !== undefined) await writeChecked(part, own.name, installer, signal);
    const logs = index === 0 ? rehearsals : [];
    for (const { stated, log } of logs) await writeChecked(part, stated.name, log, signal);
    const files: ChecksummedFile[] = [
      { name: READ_ME_FILE, sha256: hash('sha256', readMe) },
      { name: INVENTORY_FILE, sha256: manifest.inventory.sha256 },
      { name: MANIFEST_FILE, sha256: manifestSha256 },
      { name: SIGNATURE_FILE, sha256: hash('sha256', signature) },
      ...(own === undefined ? [] : [{ name: own.name, sha256: own.sha256 }]),
      ...logs.map(({ stated }) => ({ name: stated.name, sha256: stated.sha256 })),
      ...manifest.volumes
        .filter((volume) => volume.disc === disc)
        .map(({ name: volume, sha256 }) => ({ name: `${VOLUMES_FOLDER}/${volume}`, sha256 })),
      ...(index === 0 ? manifest.tools : []).map(({ name: tool, sha256 }) => ({
        name: `${TOOLS_FOLDER}/${tool}`,
        sha256,
      })),
    ];
    await writeChecked(part, CHECKSUMS_FILE, Buffer.from(formatChecksums(files)), signal);
  }
  const record = { ...target.record, state: 'sealed' as const, manifestSha256 };
  await keepSent(mirror, record, manifestBytes, join(folder, INVENTORY_FILE));
  await writeManifests(folder, folders, manifestBytes, signal);
  return { folder, folders, manifest, manifestSha256 };
}

/**
 * Finishes the shipment in the folder `to` that was killed after it had been decided, and gives it; undefined when there is none. What is on
 * the medium had been read back before.
 */
export async function finishSealed(
  mirror: Mirror,
  to: string,
  site: string,
  signal: AbortSignal | undefined,
): Promise<SealedShipment | undefined> {
  for (const record of (await readSent(mirror, site)).toReversed()) {
    if (record.state !== 'sealed' || record.manifestSha256 === undefined) continue;
    const folder = join(resolve(to), shipmentName(site, record.sequence));
    const journal = await readJournal(folder);
    if (journal?.attempt !== record.attempt) continue;
    const manifestBytes = await readSentManifest(mirror, record);
    if (manifestBytes === undefined) continue;
    const manifest = parseManifest(manifestBytes, join(folder, MANIFEST_FILE));
    const folders = foldersOf(manifest);
    await writeManifests(folder, folders, manifestBytes, signal);
    return { folder, folders, manifest, manifestSha256: record.manifestSha256 };
  }
  return undefined;
}

/** '.', or the folders of the discs, in their order. */
function foldersOf({ volumes }: Manifest): readonly string[] {
  const discs = volumes.reduce((most, { disc = 0 }) => Math.max(most, disc), 0);
  return discs === 0 ? ['.'] : discFolders(discs);
}

/** The inventory was written into the shipment's own folder; each disc gets a copy. */
async function placeInventory(
  folder: string,
  part: string,
  { inventory }: Manifest,
  signal: AbortSignal | undefined,
): Promise<void> {
  const [source, target] = [join(folder, INVENTORY_FILE), join(part, INVENTORY_FILE)];
  if (source !== target) {
    try {
      await copyFile(source, target);
      await using handle = await open(target, 'r+');
      await handle.sync();
    } catch (error) {
      throw explainWriteError(error, target);
    }
  }
  await checkReadBack(target, inventory, signal);
}

/** The first disc's comes last of all: with it the shipment is finished. */
async function writeManifests(
  folder: string,
  folders: readonly string[],
  manifestBytes: Buffer,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (const name of folders.toReversed()) await writeChecked(join(folder, name), MANIFEST_FILE, manifestBytes, signal);
  if (!folders.includes('.')) await rm(join(folder, INVENTORY_FILE), { force: true });
  await rm(join(folder, UNFINISHED_FILE), { force: true });
  await syncDirectory(folder);
}

async function writeChecked(
  folder: string,
  name: string,
  bytes: Buffer,
  signal: AbortSignal | undefined,
): Promise<void> {
  const file = join(folder, name);
  await writeFileAtomic(file, bytes);
  await checkReadBack(file, { sizeBytes: bytes.length, sha256: hash('sha256', bytes) }, signal);
}
