import type { DatabaseSync } from 'node:sqlite';

/** Grows by one with every change of the tables. The index is derived, so another version's is thrown away rather than converted. */
export const INDEX_SCHEMA_VERSION = 1;

export interface IndexTables {
  readonly paths: PathsTable;
  readonly refs: RefsTable;
  readonly state: StateTable;
}

export interface PathsTable {
  readonly hash_part: string;
  readonly base_name: string;
  readonly url: string;
  readonly compression: string;
  readonly file_hash: string | null;
  readonly file_size_bytes: number | null;
  readonly nar_hash: string;
  readonly nar_size_bytes: number;
  readonly deriver: string | null;
  readonly system: string | null;
  readonly content_address: string | null;
  /** Size and time of the narinfo when it was read: while both are the same it is not read again. */
  readonly narinfo_size_bytes: number;
  readonly narinfo_modified_ms: number;
}

/** One row a reference, self-references included. */
export interface RefsTable {
  readonly hash_part: string;
  readonly reference: string;
}

export interface StateTable {
  readonly key: string;
  readonly value: string;
}

/** The state row that says which state of the storage the tables describe (`Storage.changeToken`). */
export const CHANGE_TOKEN_KEY = 'change-token';

/** Whether a database holds exactly the tables of this version. Throws what SQLite throws for a file that is no database. */
export function hasIndexTables(database: DatabaseSync): boolean {
  const row = database.prepare('PRAGMA user_version').get();
  return row?.['user_version'] === INDEX_SCHEMA_VERSION;
}
