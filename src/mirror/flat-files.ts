import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { DatabaseSync } from 'node:sqlite';
import { type Hash, type HashAlgorithm, hashAlgorithm, hashDigest } from '../nix/hash.ts';
import type { HashPart } from '../nix/store-path.ts';
import { inTransaction } from './index-tables.ts';
import { explainSqliteError } from './sqlite-error.ts';

// Which paths are single plain files, by every hash that somebody may ask for one with; and which ones Nix itself fetches, by their addresses. Derived from the NARs. It lies beside the index rather
// than in it, since to make it anew takes reading every source, and it stays right while narinfos come and go: it says what a NAR holds, not what
// is visible.

/** A path that is one plain file. */
export interface FlatFile {
  readonly hashPart: HashPart;
  /** Of the NAR that was read: it still speaks of the path if the narinfo has the same. */
  readonly narHash: Hash;
  readonly sizeBytes: number;
}

export interface HashedFlatFile extends FlatFile {
  readonly hashes: Readonly<Record<HashAlgorithm, Hash>>;
}

/** Where Nix itself fetches a path from, as a derivation says that needs no other. */
export interface KnownAddress {
  readonly url: string;
  readonly hashPart: HashPart;
}

/** What a mirror opened for writing notes; durable with every call. */
export interface FlatFileTable {
  get(hashPart: HashPart): FlatFile | undefined;
  put(files: readonly HashedFlatFile[]): void;
  putAddresses(addresses: readonly KnownAddress[]): void;
  clear(): void;
  close(): void;
}

/** Opens the table, and makes it where there is none that is whole. */
export async function openFlatFiles(file: string): Promise<FlatFileTable> {
  const database = tryOpen(file, false) ?? (await create(file));
  const write = <Result>(work: () => Result): Result => {
    try {
      return work();
    } catch (error) {
      throw explainSqliteError(error, file);
    }
  };
  const insert = database.prepare('INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)');
  const insertAddress = database.prepare('INSERT OR IGNORE INTO addresses VALUES (?, ?)');
  const find = database.prepare('SELECT hash_part, nar_hash, size_bytes FROM files WHERE hash_part = ?');
  const change = (work: () => void): void => write(() => inTransaction(database, work));
  return {
    get: (hashPart) => asFlatFile(find.get(hashPart)),
    put: (files) =>
      change(() => {
        for (const { hashPart, narHash, sizeBytes, hashes } of files) {
          insert.run(hashPart, narHash, sizeBytes, ...ALGORITHMS.map((algorithm) => hashDigest(hashes[algorithm])));
        }
      }),
    putAddresses: (addresses) =>
      change(() => {
        for (const { url, hashPart } of addresses) insertAddress.run(url, hashPart);
      }),
    clear: () => change(() => database.exec('DELETE FROM files; DELETE FROM addresses')),
    close: () => database.close(),
  };
}

/**
 * The paths that are a file with this hash, as far as the table says; read without disturbing a writer, from a table that may be missing, be on
 * a read-only medium, or be replaced at any time.
 */
export function findFlatFiles(file: string, hash: Hash): readonly FlatFile[] {
  return ask(file, (database) => {
    const column = hashAlgorithm(hash);
    const query = database.prepare(`SELECT hash_part, nar_hash, size_bytes FROM files WHERE ${column} = ? LIMIT 100`);
    return query.all(hashDigest(hash)).flatMap((row) => asFlatFile(row) ?? []);
  });
}

/** The paths that Nix fetches from this address; as `findFlatFiles`. */
export function findByAddress(file: string, url: string): readonly HashPart[] {
  return ask(file, (database) => {
    const rows = database.prepare('SELECT hash_part FROM addresses WHERE url = ? LIMIT 100').all(url);
    return rows.map((row) => row['hash_part'] as HashPart);
  });
}

function ask<Answer>(file: string, work: (database: DatabaseSync) => readonly Answer[]): readonly Answer[] {
  if (!existsSync(file)) return [];
  const database = tryOpen(file, true);
  if (database === undefined) return [];
  try {
    return work(database);
  } catch (error) {
    if (isSqliteError(error)) return [];
    throw error;
  } finally {
    database.close();
  }
}

const ALGORITHMS: readonly HashAlgorithm[] = ['md5', 'sha1', 'sha256', 'sha512'];
const SCHEMA_VERSION = 2;
const BUSY_TIMEOUT_MS = 2000;

function tryOpen(file: string, readOnly: boolean): DatabaseSync | undefined {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(file, { readOnly, timeout: BUSY_TIMEOUT_MS });
    const version = database.prepare('PRAGMA user_version').get()?.['user_version'];
    // A reader has no time to look at every page, and whatever it is told is checked by whoever asked.
    const isWhole = readOnly || database.prepare('PRAGMA quick_check(1)').get()?.['quick_check'] === 'ok';
    if (version === SCHEMA_VERSION && isWhole) return database;
  } catch (error) {
    if (!isSqliteError(error)) throw error;
  }
  if (database?.isOpen === true) database.close();
  return undefined;
}

async function create(file: string): Promise<DatabaseSync> {
  for (const name of [file, `${file}-journal`]) await rm(name, { force: true });
  try {
    const database = new DatabaseSync(file, { timeout: BUSY_TIMEOUT_MS });
    database.exec(`
      CREATE TABLE files (
        hash_part TEXT PRIMARY KEY NOT NULL, nar_hash TEXT NOT NULL, size_bytes INTEGER NOT NULL,
        ${ALGORITHMS.map((algorithm) => `${algorithm} BLOB NOT NULL`).join(', ')}
      ) WITHOUT ROWID;
      ${ALGORITHMS.map((algorithm) => `CREATE INDEX files_by_${algorithm} ON files (${algorithm});`).join('\n')}
      CREATE TABLE addresses (url TEXT NOT NULL, hash_part TEXT NOT NULL, PRIMARY KEY (url, hash_part)) WITHOUT ROWID;
      PRAGMA user_version = ${SCHEMA_VERSION};
    `);
    return database;
  } catch (error) {
    throw explainSqliteError(error, file);
  }
}

function asFlatFile(row: Record<string, unknown> | undefined): FlatFile | undefined {
  if (row === undefined) return undefined;
  return {
    hashPart: row['hash_part'] as HashPart,
    narHash: row['nar_hash'] as Hash,
    sizeBytes: row['size_bytes'] as number,
  };
}

function isSqliteError(error: unknown): error is Error {
  return error instanceof Error && 'code' in error && error.code === 'ERR_SQLITE_ERROR';
}
