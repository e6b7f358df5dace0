import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { pathToFileURL } from 'node:url';
import { LIMITS } from '../../base/limits.ts';
import { namesIfReadable } from './machine.ts';

/** What Nix remembers of a path of a cache, and would say without asking. */
export interface RememberedNarInfo {
  /** Of the cache, as Nix writes it. */
  readonly cache: string;
  readonly hashPart: string;
  /** Whether the cache had it. */
  readonly present: boolean;
  readonly signatures: readonly string[];
  readonly hasContentAddress: boolean;
  readonly ageSeconds: number;
}

export interface NarInfoMemory {
  readonly file: string;
  /** Undefined when it cannot be read. */
  readonly rows: readonly RememberedNarInfo[] | undefined;
}

/**
 * Reads every `binary-cache-v*.sqlite` in a folder. Nothing is written. (Nix: nar-info-disk-cache.cc)
 * @param nowSeconds since 1970.
 */
export function readNarInfoMemories(folder: string, nowSeconds: number): NarInfoMemory[] {
  return namesIfReadable(folder)
    .filter((name) => /^binary-cache-v\d+\.sqlite$/.test(name))
    .map((name) => readMemory(join(folder, name), nowSeconds));
}

function readMemory(file: string, nowSeconds: number): NarInfoMemory {
  for (const immutable of [false, true]) {
    // As what never changes it may only be read when nothing is written ahead; else half of it would be missing.
    if (immutable && hasContents(`${file}-wal`)) break;
    try {
      return { file, rows: readRows(file, immutable, nowSeconds) };
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ERR_SQLITE_ERROR')) throw error;
    }
  }
  return { file, rows: undefined };
}

function readRows(file: string, immutable: boolean, nowSeconds: number): RememberedNarInfo[] {
  const url = pathToFileURL(file);
  url.searchParams.set('mode', 'ro');
  if (immutable || !existsSync(`${file}-wal`)) url.searchParams.set('immutable', '1');
  const database = new DatabaseSync(url, { readOnly: true, timeout: BUSY_TIMEOUT_MS });
  try {
    const rows = database
      .prepare(
        'SELECT BinaryCaches.url AS cacheUrl, hashPart, present, sigs, ca, NARs.timestamp AS at FROM NARs JOIN BinaryCaches ON cache = BinaryCaches.id ORDER BY NARs.timestamp DESC LIMIT ?',
      )
      .all(LIMITS.narInfoCacheRows);
    return rows.map((row) => ({
      cache: String(row['cacheUrl']),
      hashPart: String(row['hashPart']),
      present: row['present'] === 1,
      signatures: String(row['sigs'] ?? '')
        .split(' ')
        .filter((text) => text !== ''),
      hasContentAddress: typeof row['ca'] === 'string' && row['ca'] !== '',
      ageSeconds: Math.max(0, nowSeconds - Number(row['at'])),
    }));
  } finally {
    database.close();
  }
}

const BUSY_TIMEOUT_MS = 500;

function hasContents(file: string): boolean {
  return (statSync(file, { throwIfNoEntry: false })?.size ?? 0) > 0;
}
