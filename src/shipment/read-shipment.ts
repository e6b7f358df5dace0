import { createHash } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { NixferryError, systemErrorCode } from '../base/errors.ts';
import { readFileIfExists } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import { INVENTORY_FILE, MANIFEST_FILE, SIGNATURE_FILE, UNFINISHED_FILE, VOLUMES_FOLDER } from './format.ts';
import { type Manifest, type ManifestVolume, parseManifest } from './manifest.ts';
import { explainReadError } from './medium-error.ts';

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
 * Finds the one shipment in the given folders: in a folder itself, or one level below it. Volumes may be spread over all of them.
 * Throws `not-a-shipment` when there is none, or more than one; `damage` when the medium cannot be read.
 */
export async function readShipment(directories: readonly string[]): Promise<FoundShipment> {
  const given = directories.map((directory) => resolve(directory));
  const folders = (await Promise.all(given.map(shipmentFolders))).flat();
  const found: { folder: string; bytes: Buffer; sha256: string }[] = [];
  for (const folder of folders) {
    const bytes = await readMedium(join(folder, MANIFEST_FILE), LIMITS.manifestBytes);
    if (bytes !== undefined) found.push({ folder, bytes, sha256: createHash('sha256').update(bytes).digest('hex') });
  }
  const [first] = found;
  if (first === undefined) throw await nothingFound(given);
  if (found.some(({ sha256 }) => sha256 !== first.sha256)) throw tooManyFound(found.map(({ folder }) => folder));
  const signature = await readMedium(join(first.folder, SIGNATURE_FILE), LIMITS.manifestSignatureBytes);
  return {
    folder: first.folder,
    searched: [...new Set([...folders, ...given].flatMap((folder) => [join(folder, VOLUMES_FOLDER), folder]))],
    manifestFile: join(first.folder, MANIFEST_FILE),
    manifestBytes: first.bytes,
    manifestSha256: first.sha256,
    signatureText: signature?.toString('latin1') ?? '',
  };
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

/** The files that may be the inventory. */
export async function findInventories(shipment: FoundShipment): Promise<string[]> {
  return (await findFiles(shipment.searched, INVENTORY_FILE)).map(({ path }) => path);
}

/** Children of a folder that are looked at: a medium has few. */
const CHILDREN_MAX = 10_000;

/** The folder itself if it holds a manifest, else those right below it that do. */
async function shipmentFolders(directory: string): Promise<string[]> {
  if (await isFile(join(directory, MANIFEST_FILE))) return [directory];
  const found: string[] = [];
  for (const name of (await namesIn(directory)).slice(0, CHILDREN_MAX)) {
    const folder = join(directory, name);
    if (await isFile(join(folder, MANIFEST_FILE))) found.push(folder);
  }
  return found;
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
    hint: 'import them one after the other, the lowest number first: nixferry import DIR',
  });
}
