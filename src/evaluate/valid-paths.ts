import { statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { pathToFileURL } from 'node:url';
import { NixferryError, systemErrorCode } from '../base/errors.ts';
import { NixFormatError } from '../nix/format-error.ts';
import { parseHash } from '../nix/hash.ts';
import { type HashPart, parseStorePath, type StorePath } from '../nix/store-path.ts';
import type { LocalPath } from './local-store.ts';

/** What the database of a Nix store says of a valid path. */
export interface ValidPath extends LocalPath {
  /** Changes when the path is registered anew, and with everything that is not immutable. */
  readonly version: string;
  readonly signatures: readonly string[];
  readonly contentAddress: string | undefined;
}

/** The database of a Nix store, read without Nix and beside it; nothing is ever written. */
export interface ValidPaths extends Disposable {
  /** Undefined: there is no such path, or it is not (or not yet, or no longer) valid. Takes some ten microseconds. Throws `damage` when the database cannot be read. */
  find(hashPart: HashPart): ValidPath | undefined;
}

/** Where Nix keeps the database of a store. @param root where `/nix` lies, `/` for the system's own. */
export function storeDatabaseFile(root: string, storeDir: string): string {
  return join(root, dirname(storeDir), 'var/nix/db/db.sqlite');
}

/**
 * Opens the database of the store below `root`. Throws `usage` when there is none.
 * (Nix: schema.sql, the same from 2.0 to 2.34)
 */
export function openValidPaths(root: string, storeDir: string): ValidPaths {
  const file = storeDatabaseFile(root, storeDir);
  if (statOf(file) === undefined) {
    throw new NixferryError('usage', `there is no Nix store below ${root}: ${file} is missing`, {
      hint: 'name the folder that holds nix/store and nix/var, or leave the folder out where Nix is installed here',
    });
  }
  return new OpenedValidPaths(file, storeDir);
}

class OpenedValidPaths implements ValidPaths {
  readonly #file: string;
  readonly #storeDir: string;
  #reader: Reader | undefined;

  constructor(file: string, storeDir: string) {
    this.#file = file;
    this.#storeDir = storeDir;
  }

  find(hashPart: HashPart): ValidPath | undefined {
    for (let attempt = 1; ; attempt++) {
      // Nix may be installed anew under our feet: the file that was opened is not the database then.
      const before = statOf(this.#file);
      if (before === undefined) return undefined;
      try {
        this.#reader = refreshReader(this.#reader, this.#file, before);
        const found = readPath(this.#reader, hashPart, this.#storeDir);
        if (!this.#reader.isSnapshot || before === statOf(this.#file)) return found;
      } catch (error) {
        if (!isSqliteError(error)) throw error;
        if (attempt === ATTEMPTS) {
          throw new NixferryError('damage', `${this.#file} cannot be read: ${error.message}`, {
            hint: 'see whether Nix itself can read it: nix-store --verify',
            cause: error,
          });
        }
      }
      this[Symbol.dispose]();
    }
  }

  [Symbol.dispose](): void {
    this.#reader?.database.close();
    this.#reader = undefined;
  }
}

const ATTEMPTS = 5;
const BUSY_TIMEOUT_MS = 500;

interface Reader {
  readonly database: DatabaseSync;
  readonly path: StatementSync;
  readonly references: StatementSync;
  /** Of which file, and, for a snapshot, in which state of it. */
  readonly state: string;
  readonly isSnapshot: boolean;
}

function refreshReader(reader: Reader | undefined, file: string, state: string): Reader {
  if (reader !== undefined && sameState(reader, state)) return reader;
  reader?.database.close();
  try {
    return openReader(file, state, false);
  } catch (error) {
    // Nix writes ahead into a file of its own, for which SQLite wants a third one that only the owner of the folder can make. Where nothing
    // is written ahead, the database alone is all, and may be read as what never changes as long as it does not.
    if (!isSqliteError(error) || hasContents(`${file}-wal`)) throw error;
    return openReader(file, state, true);
  }
}

function sameState(reader: Reader, state: string): boolean {
  if (reader.isSnapshot) return reader.state === state;
  return identityIn(reader.state) === identityIn(state);
}

function openReader(file: string, state: string, isSnapshot: boolean): Reader {
  const url = pathToFileURL(file);
  url.searchParams.set('mode', 'ro');
  if (isSnapshot) url.searchParams.set('immutable', '1');
  const database = new DatabaseSync(url, { readOnly: true, timeout: BUSY_TIMEOUT_MS });
  try {
    const path = database.prepare(
      'SELECT id, path, hash, registrationTime, deriver, narSize, sigs, ca FROM ValidPaths WHERE path >= ? ORDER BY path LIMIT 1',
    );
    const references = database.prepare(
      'SELECT path FROM Refs JOIN ValidPaths ON reference = id WHERE referrer = ? ORDER BY path',
    );
    return { database, path, references, state, isSnapshot };
  } catch (error) {
    database.close();
    throw error;
  }
}

function readPath({ database, path, references }: Reader, hashPart: HashPart, storeDir: string): ValidPath | undefined {
  const prefix = `${storeDir}/${hashPart}-`;
  // One state of the database for both questions: between them the path might be removed and come back.
  database.exec('BEGIN');
  try {
    const row = path.get(prefix);
    if (typeof row?.['path'] !== 'string' || !row['path'].startsWith(prefix)) return undefined;
    const referenced = references.all(row['id'] ?? null).map((reference) => String(reference['path']));
    return asValidPath(row, referenced, storeDir);
  } finally {
    database.exec('COMMIT');
  }
}

/** Undefined for what no Nix registers, or did long ago, without a size. */
function asValidPath(
  row: Readonly<Record<string, unknown>>,
  references: readonly string[],
  storeDir: string,
): ValidPath | undefined {
  const { path, hash, deriver, narSize, sigs, ca } = row;
  if (typeof hash !== 'string' || typeof narSize !== 'number' || narSize <= 0) return undefined;
  try {
    return {
      storePath: parseStorePath(String(path), storeDir),
      narHash: parseHash(hash),
      narSizeBytes: narSize,
      references: references.map((reference): StorePath => parseStorePath(reference, storeDir)),
      deriver: typeof deriver === 'string' && deriver !== '' ? parseStorePath(deriver, storeDir) : undefined,
      signatures: typeof sigs === 'string' ? sigs.split(' ').filter((signature) => signature !== '') : [],
      contentAddress: typeof ca === 'string' && ca !== '' ? ca : undefined,
      version: [row['id'], row['registrationTime'], hash, narSize, sigs, ca].join(' '),
    };
  } catch (error) {
    if (error instanceof NixFormatError) return undefined;
    throw error;
  }
}

/** Which file this is, a space, and in which state; undefined when it is not there. */
function statOf(file: string): string | undefined {
  try {
    const { dev, ino, size, mtimeNs } = statSync(file, { bigint: true });
    return `${dev}:${ino} ${size}:${mtimeNs}:${hasContents(`${file}-wal`)}`;
  } catch (error) {
    if (NOT_THERE.has(systemErrorCode(error) ?? '')) return undefined;
    throw error;
  }
}

function identityIn(state: string): string {
  return state.slice(0, state.indexOf(' '));
}

function hasContents(file: string): boolean {
  return (statSync(file, { throwIfNoEntry: false })?.size ?? 0) > 0;
}

const NOT_THERE: ReadonlySet<string> = new Set(['ENOENT', 'ENOTDIR', 'EACCES']);

function isSqliteError(error: unknown): error is Error {
  return error instanceof Error && 'code' in error && error.code === 'ERR_SQLITE_ERROR';
}
