import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { DatabaseSync } from 'node:sqlite';
import { pathToFileURL } from 'node:url';
import { hasIndexTables } from './index-schema.ts';
import { isSqliteError } from './sqlite-error.ts';

const BUSY_TIMEOUT_MS = 10_000;

/** The index in a file, empty when there was none that is whole and of this version. */
export async function openIndexToWrite(file: string): Promise<DatabaseSync> {
  const present = existsSync(file) ? tryOpen(() => new DatabaseSync(file, { timeout: BUSY_TIMEOUT_MS })) : undefined;
  const database = present ?? (await createDatabase(file));
  // One file, no shared memory: the index must be readable on read-only media, and next to a writer. Pages are spilled only at the
  // end of a batch, so that readers are kept waiting just for the commit.
  database.exec(
    'PRAGMA journal_mode = DELETE; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -131072; PRAGMA cache_spill = OFF',
  );
  return database;
}

async function createDatabase(file: string): Promise<DatabaseSync> {
  await removeIndexFile(file);
  const { createIndexTables } = await import('./index-queries.ts');
  const database = new DatabaseSync(file, { timeout: BUSY_TIMEOUT_MS });
  await createIndexTables(database);
  return database;
}

/** Removes the file and whatever SQLite keeps beside it. */
export async function removeIndexFile(file: string): Promise<void> {
  for (const name of [file, `${file}-journal`, `${file}-wal`, `${file}-shm`]) await rm(name, { force: true });
}

/** The index in a file, never to be written; undefined when there is none that is whole and of this version. */
export function openIndexToRead(file: string): DatabaseSync | undefined {
  if (!existsSync(file)) return undefined;
  return tryOpen(() => new DatabaseSync(file, { readOnly: true, timeout: BUSY_TIMEOUT_MS }));
}

/** The database if it is whole and of this version. Whatever is wrong with it, it can be made again from the narinfos. */
function tryOpen(open: () => DatabaseSync): DatabaseSync | undefined {
  let database: DatabaseSync | undefined;
  try {
    database = open();
    const check = database.prepare('PRAGMA quick_check(1)').get();
    if (hasIndexTables(database) && check?.['quick_check'] === 'ok') return database;
  } catch (error) {
    if (!isSqliteError(error)) throw error;
  }
  if (database?.isOpen === true) database.close();
  return undefined;
}

/** Fills empty tables with what an index file holds, or leaves them empty when it cannot be read any more. */
export function copyIndexFile(file: string, into: DatabaseSync): void {
  const url = pathToFileURL(file);
  url.searchParams.set('mode', 'ro');
  try {
    into.prepare('ATTACH ? AS disk').run(url.href);
    into.exec('INSERT INTO paths SELECT * FROM disk.paths; INSERT INTO refs SELECT * FROM disk.refs; DETACH disk');
  } catch (error) {
    // A writer may have thrown the file away in this very moment; then everything is read from the narinfos instead.
    if (!isSqliteError(error)) throw error;
    into.exec('DELETE FROM paths; DELETE FROM refs;');
  }
}
