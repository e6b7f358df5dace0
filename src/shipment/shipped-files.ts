import { LIMITS } from '../base/limits.ts';
import { CACHE_INFO_NAME } from '../mirror/layout.ts';
import type { Mirror } from '../mirror/mirror.ts';
import type { Storage } from '../mirror/storage.ts';
import { NixFormatError } from '../nix/format-error.ts';
import { parseRealisation, parseRealisationPath } from '../nix/realisation.ts';
import { isShippedFileName } from './inventory.ts';

export interface PlannedFile {
  readonly name: string;
  readonly sizeBytes: number;
}

export interface ShippedFiles {
  readonly cacheInfo: PlannedFile;
  /** By hash part. */
  readonly listings: ReadonlyMap<string, PlannedFile>;
  /** Realisations and build traces whose outputs are among the paths; sorted by name. */
  readonly files: readonly PlannedFile[];
}

/** Finds the small files of a mirror that belong to the given paths (base names). */
export async function findShippedFiles(mirror: Mirror, paths: ReadonlySet<string>): Promise<ShippedFiles> {
  const { storage } = mirror;
  const cacheInfo = await sizeOf(storage, CACHE_INFO_NAME);
  if (cacheInfo === undefined) throw new Error('an open mirror has a nix-cache-info');
  return {
    cacheInfo,
    listings: await findListings(storage, paths),
    files: [
      ...(await findRealisations(storage, 'build-trace-v', paths)),
      ...(await findRealisations(storage, 'realisations/', paths)),
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

async function findRealisations(storage: Storage, prefix: string, paths: ReadonlySet<string>): Promise<PlannedFile[]> {
  const files: PlannedFile[] = [];
  for await (const name of storage.list(prefix)) {
    if (!isShippedFileName(name)) continue;
    const bytes = await storage.read(name);
    if (bytes === undefined || bytes.length > LIMITS.realisationBytes) continue;
    const outPath = outPathOf(bytes, name);
    if (outPath !== undefined && paths.has(outPath)) files.push({ name, sizeBytes: bytes.length });
  }
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
