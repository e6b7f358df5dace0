import { createHash } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { NixferryError, systemErrorCode } from '../base/errors.ts';
import { readFileIfExists } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import {
  DISC_FOLDER,
  INVENTORY_FILE,
  MANIFEST_FILE,
  SIGNATURE_FILE,
  UNFINISHED_FILE,
  VOLUMES_FOLDER,
} from './format.ts';
import { type Manifest, type ManifestVolume, parseManifest } from './manifest.ts';
import { explainReadError } from './medium-error.ts';
import { claimedSender } from './sender.ts';

/** A shipment as it lies in folders; nothing of it is trusted yet. */
export interface FoundShipment {
  /** Where the manifest was found. */
  readonly folder: string;
  /** Everywhere that volumes and inventory may lie. */
  readonly searched: readonly string[];
  readonly manifestFile: string;
  readonly manifestBytes: Buffer;
  /** In hex. */
  readonly manifestSha256: string;
  /** The text of manifest.sig; empty when there is none. */
  readonly signatureText: string;
}

/** A volume and the files that may be it; several where it was copied to several folders, none where it is missing. */
export interface FoundVolume extends ManifestVolume {
  readonly files: readonly { readonly path: string; readonly sizeBytes: number }[];
}

/**
 * Finds the one shipment in the given folders: in a folder itself, in those right below it, or on the discs that lie in these. Volumes may be
 * spread over all of them. Throws `not-a-shipment` when there is none, or more than one; `damage` when the medium cannot be read.
 */
export async function readShipment(directories: readonly string[]): Promise<FoundShipment> {
  const given = directories.map((directory) => resolve(directory));
  const folders = (await Promise.all(given.map(shipmentFolders))).flat();
  const found = await readManifests(folders);
  const [first] = found;
  if (first === undefined) throw await nothingFound(given);
  const chosen = new Set(found.map(({ sha256 }) => sha256)).size === 1 ? first : onlySigned(found);
  if (chosen === undefined) throw tooManyFound(found.map(({ folder }) => folder));
  return shipmentOf(
    found.filter(({ sha256 }) => sha256 === chosen.sha256),
    [...new Set([...folders, ...given].flatMap((folder) => [join(folder, VOLUMES_FOLDER), folder]))],
  );
}

/**
 * The folders of each shipment that a medium holds, the lowest number first, where it holds several: each is to be imported for itself.
 * Otherwise the given folder alone. What is wrong with a shipment is found when it is read.
 */
export async function separateShipments(directory: string): Promise<string[][]> {
  const found = await readManifests(await shipmentFolders(resolve(directory)));
  const signed: { readonly folders: string[]; readonly sequence: number }[] = [];
  for (const copies of Map.groupBy(found, ({ sha256 }) => sha256).values()) {
    const shipment = shipmentOf(copies, []);
    if (claimedSender(shipment)?.hasSigned !== true) continue;
    signed.push({ folders: copies.map(({ folder }) => folder), sequence: manifestOfShipment(shipment).sequence });
  }
  if (signed.length < 2) return [[directory]];
  return signed.sort((a, b) => a.sequence - b.sequence).map(({ folders }) => folders);
}

/** What the manifest says, whoever signed it. Throws `newer-format` or `damage`. */
export function manifestOfShipment(shipment: FoundShipment): Manifest {
  return parseManifest(shipment.manifestBytes, shipment.manifestFile);
}

/** Looks for each volume; files of another size than the manifest says come last, for parts of them may be good. */
export async function findVolumes(shipment: FoundShipment, manifest: Manifest): Promise<FoundVolume[]> {
  return Promise.all(
    manifest.volumes.map(async (volume) => {
      const files = await findFiles(shipment.searched, volume.name);
      const isRight = (file: { sizeBytes: number }): number => (file.sizeBytes === volume.sizeBytes ? 0 : 1);
      return { ...volume, files: files.sort((a, b) => isRight(a) - isRight(b)) };
    }),
  );
}

/** The files that may be one that lies beside the manifest. */
export async function findBeside(shipment: FoundShipment, name: string): Promise<string[]> {
  return (await findFiles(shipment.searched, name)).map(({ path }) => path);
}

/** The files that may be the inventory. */
export async function findInventories(shipment: FoundShipment): Promise<string[]> {
  return (await findFiles(shipment.searched, INVENTORY_FILE)).map(({ path }) => path);
}

/** Children of a folder that are looked at: a medium has few. */
const CHILDREN_MAX = 10_000;

interface FoundManifest {
  readonly folder: string;
  readonly bytes: Buffer;
  readonly sha256: string;
  readonly signatureText: string;
}

/** The folder itself if it holds a manifest; else those right below it that do, or whose discs do. */
async function shipmentFolders(directory: string): Promise<string[]> {
  if (await isFile(join(directory, MANIFEST_FILE))) return [directory];
  const found: string[] = [];
  for (const name of (await namesIn(directory)).slice(0, CHILDREN_MAX)) {
    const folder = join(directory, name);
    try {
      if (await isFile(join(folder, MANIFEST_FILE))) found.push(folder);
      else found.push(...(await discsIn(folder)));
    } catch (error) {
      // A folder that is not ours to read, such as lost+found, is not what the user means.
      if (!(error instanceof NixferryError) || error.code !== 'usage') throw error;
    }
  }
  return found;
}

async function discsIn(folder: string): Promise<string[]> {
  if ((await statIfExists(folder))?.isDirectory() !== true) return [];
  const discs: string[] = [];
  for (const name of (await namesIn(folder)).slice(0, CHILDREN_MAX)) {
    const disc = join(folder, name);
    if (DISC_FOLDER.test(name) && (await isFile(join(disc, MANIFEST_FILE)))) discs.push(disc);
  }
  return discs;
}

/** A manifest that cannot be read is passed over where another disc has one that can. */
async function readManifests(folders: readonly string[]): Promise<FoundManifest[]> {
  const found: FoundManifest[] = [];
  let problem: unknown;
  for (const folder of folders) {
    try {
      const bytes = await readMedium(join(folder, MANIFEST_FILE), LIMITS.manifestBytes);
      const signature = await readMedium(join(folder, SIGNATURE_FILE), LIMITS.manifestSignatureBytes);
      if (bytes === undefined) continue;
      const sha256 = createHash('sha256').update(bytes).digest('hex');
      found.push({ folder, bytes, sha256, signatureText: signature?.toString('latin1') ?? '' });
    } catch (error) {
      if (!(error instanceof NixferryError) || error.code !== 'damage') throw error;
      problem ??= error;
    }
  }
  if (found.length === 0 && problem !== undefined) throw problem;
  return found;
}

/** The one among several manifests that the sender whom it names has signed: the others are damaged copies of it. */
function onlySigned(found: readonly FoundManifest[]): FoundManifest | undefined {
  const signed = new Map<string, FoundManifest>();
  for (const one of found) {
    if (claimedSender(shipmentOf([one], []))?.hasSigned === true) signed.set(one.sha256, one);
  }
  return signed.size === 1 ? [...signed.values()][0] : undefined;
}

/** Copies of one manifest; the signatures of all count, for that of one disc may be damaged. */
function shipmentOf(copies: readonly FoundManifest[], searched: readonly string[]): FoundShipment {
  const { folder, bytes, sha256 } = copies[0] as FoundManifest;
  return {
    folder,
    searched,
    manifestFile: join(folder, MANIFEST_FILE),
    manifestBytes: bytes,
    manifestSha256: sha256,
    signatureText: [...new Set(copies.map(({ signatureText }) => signatureText))].join('\n'),
  };
}

async function findFiles(folders: readonly string[], name: string): Promise<{ path: string; sizeBytes: number }[]> {
  const files: { path: string; sizeBytes: number }[] = [];
  for (const folder of folders) {
    const path = join(folder, name);
    const stats = await statIfExists(path);
    if (stats?.isFile() === true) files.push({ path, sizeBytes: stats.size });
  }
  return files;
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      throw new NixferryError('not-a-shipment', `${directory} is not a folder`, {
        hint: 'mount the medium, then give its folder: nixferry import DIR',
      });
    }
    throw explainReadError(error, directory);
  }
}

async function readMedium(file: string, maxBytes: number): Promise<Buffer | undefined> {
  try {
    return await readFileIfExists(file, maxBytes);
  } catch (error) {
    throw explainReadError(error, file);
  }
}

async function isFile(path: string): Promise<boolean> {
  return (await statIfExists(path))?.isFile() === true;
}

async function statIfExists(path: string) {
  try {
    return await stat(path);
  } catch (error) {
    const code = systemErrorCode(error);
    // Too many links in a row lead nowhere, too.
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP') return undefined;
    throw explainReadError(error, path);
  }
}

async function nothingFound(given: readonly string[]): Promise<NixferryError> {
  const where = given.join(', ');
  for (const folder of given) {
    if (await isFile(join(folder, UNFINISHED_FILE))) {
      return new NixferryError('not-a-shipment', `${folder} holds a shipment that was never finished`, {
        hint: 'on the connected side, type the same nixferry pack command again',
      });
    }
  }
  return new NixferryError('not-a-shipment', `there is no shipment in ${where} (no ${MANIFEST_FILE})`, {
    hint: 'give the folder that holds READ-ME-FIRST.txt: nixferry import DIR',
  });
}

function tooManyFound(folders: readonly string[]): NixferryError {
  return new NixferryError('not-a-shipment', `there are several shipments: ${folders.join(', ')}`, {
    hint: 'name one of them; to import, the lowest number first: nixferry import DIR',
  });
}
