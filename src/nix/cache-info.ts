import { NixFormatError, quoteForMessage } from './format-error.ts';
import { DEFAULT_STORE_DIR } from './store-path.ts';

/** What a binary cache says of itself in `nix-cache-info`. */
export interface CacheInfo {
  /** The store folder of all its paths; a client with another one refuses the cache. */
  readonly storeDir: string;
  /** Whether clients may ask for many paths at once. */
  readonly wantMassQuery: boolean;
  /** Lower is asked first; undefined leaves it to the client. */
  readonly priority: number | undefined;
}

/**
 * Reads `nix-cache-info` as Nix does: unknown keys and lines without a colon are skipped, white space around values is dropped, a
 * priority that does not begin with a number is refused. Without `StoreDir` it is Nix's default. (Nix: `BinaryCacheStore::init`)
 * @throws NixFormatError
 */
export function parseCacheInfo(data: string | Uint8Array): CacheInfo {
  const text = typeof data === 'string' ? data : Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString();
  let storeDir: string | undefined;
  let wantMassQuery = false;
  let priority: number | undefined;
  for (const row of text.split('\n')) {
    const colon = row.indexOf(':');
    if (colon === -1) continue;
    const value = row.slice(colon + 1).trim();
    switch (row.slice(0, colon)) {
      case 'StoreDir':
        if (storeDir !== undefined && storeDir !== value) throw problemWith('StoreDir stands there twice', value);
        storeDir = value;
        break;
      case 'WantMassQuery':
        wantMassQuery = value === '1';
        break;
      case 'Priority':
        priority = parsePriority(value);
        break;
    }
  }
  if (storeDir !== undefined && !isStoreDir(storeDir))
    throw problemWith('StoreDir is not an absolute folder', storeDir);
  return { storeDir: storeDir ?? DEFAULT_STORE_DIR, wantMassQuery, priority };
}

/** Writes `nix-cache-info`; what is at its default is left out, as Nix leaves it. */
export function formatCacheInfo(info: CacheInfo): string {
  let text = `StoreDir: ${info.storeDir}\n`;
  if (info.wantMassQuery) text += 'WantMassQuery: 1\n';
  if (info.priority !== undefined) text += `Priority: ${info.priority}\n`;
  return text;
}

/** Whether `text` is an absolute folder in its plainest spelling: no `//`, `.` or `..` in it, no slash at the end. */
export function isStoreDir(text: string): boolean {
  if (!text.startsWith('/') || text.length > STORE_DIR_LENGTH_MAX) return false;
  for (const part of text.slice(1).split('/')) {
    if (part === '' || part === '.' || part === '..') return false;
  }
  return !/[\u0000-\u001f\u007f]/.test(text);
}

const STORE_DIR_LENGTH_MAX = 1024;

// As std::stoi: what follows the digits does not matter, and the number fits 32 bits.
function parsePriority(value: string): number {
  const priority = Number.parseInt(/^[+-]?\d{1,10}(?!\d)/.exec(value)?.[0] ?? '', 10);
  const whole = priority | 0; // also makes a plain 0 of -0
  if (Number.isNaN(priority) || priority !== whole) throw problemWith('Priority is not a number', value);
  return whole;
}

function problemWith(problem: string, value: string): NixFormatError {
  return new NixFormatError('nix-cache-info', `${problem}: ${quoteForMessage(value)}`);
}
