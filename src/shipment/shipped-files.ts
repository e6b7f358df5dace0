import { LIMITS } from '../base/limits.ts';
import { CACHE_INFO_NAME } from '../mirror/layout.ts';
import type { Mirror } from '../mirror/mirror.ts';
import type { Storage } from '../mirror/storage.ts';
import { NixFormatError } from '../nix/format-error.ts';
import { parseRealisation, parseRealisationPath } from '../nix/realisation.ts';
import type { HeldFiles } from './held-files.ts';
import { isShippedFileName } from './inventory.ts';

export interface PlannedFile {
  readonly name: string;
  readonly sizeBytes: number;
}

export interface ShippedFiles {
  readonly cacheInfo: PlannedFile;
  /** By hash part. */
  readonly listings: ReadonlyMap<string, PlannedFile>;
  /** Realisations and build traces whose outputs are among the paths, or are held and it is not known that the site has these, too; sorted by name. */
  readonly files: readonly PlannedFile[];
}

/** Paths (base names) that a site has, and which of their small files. */
export interface HeldPathsAndFiles {
  readonly paths: ReadonlySet<string>;
  readonly heldFiles: HeldFiles | undefined;
}

/** Finds the small files of a mirror that belong to the paths (base names) which are sent, and realisations that are new for those which are not. */
export async function findShippedFiles(
  mirror: Mirror,
  paths: ReadonlySet<string>,
  held: HeldPathsAndFiles,
): Promise<ShippedFiles> {
  const { storage } = mirror;
  const cacheInfo = await sizeOf(storage, CACHE_INFO_NAME);
  if (cacheInfo === undefined) throw new Error('an open mirror has a nix-cache-info');
  return {
    cacheInfo,
    listings: await findListings(storage, paths),
    files: [
      ...(await findRealisations(storage, 'build-trace-v', paths, held)),
      ...(await findRealisations(storage, 'realisations/', paths, held)),
    ],
  };
}

async function findListings(storage: Storage, paths: ReadonlySet<string>): Promise<Map<string, PlannedFile>> {
  const hashParts = new Set([...paths].map((path) => path.slice(0, 32)));
  const listings = new Map<string, PlannedFile>();
  for await (const name of storage.list('', { shallow: true })) {
    if (!name.endsWith('.ls') || !hashParts.has(name.slice(0, -3))) continue;
    const file = await sizeOf(storage, name);
    if (file !== undefined) listings.set(name.slice(0, -3), file);
  }
  return listings;
}

async function findRealisations(
  storage: Storage,
  prefix: string,
  paths: ReadonlySet<string>,
  held: HeldPathsAndFiles,
): Promise<PlannedFile[]> {
  const files: PlannedFile[] = [];
  const ofHeld = new Map<string, PlannedFile>();
  for await (const name of storage.list(prefix)) {
    if (!isShippedFileName(name)) continue;
    const bytes = await storage.read(name);
    if (bytes === undefined || bytes.length > LIMITS.realisationBytes) continue;
    const outPath = outPathOf(bytes, name);
    if (outPath === undefined) continue;
    const file = { name, sizeBytes: bytes.length };
    if (paths.has(outPath)) files.push(file);
    else if (held.paths.has(outPath)) ofHeld.set(name, file);
  }
  // Inventories are long: they are read only where there is something to ask.
  const known = ofHeld.size === 0 ? undefined : await held.heldFiles?.(new Set(ofHeld.keys()));
  for (const [name, file] of ofHeld) if (known?.has(name) !== true) files.push(file);
  return files.sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function sizeOf(storage: Storage, name: string): Promise<PlannedFile | undefined> {
  const stored = await storage.stat(name);
  if (stored === undefined || stored.sizeBytes > LIMITS.shippedFileBytes) return undefined;
  return { name, sizeBytes: stored.sizeBytes };
}

// What no Nix could read is not worth carrying.
function outPathOf(bytes: Buffer, name: string): string | undefined {
  const key = parseRealisationPath(name);
  if (key === undefined) return undefined;
  try {
    return parseRealisation(bytes, key).outPath;
  } catch (error) {
    if (error instanceof NixFormatError) return undefined;
    throw error;
  }
}
