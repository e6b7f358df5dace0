import type { DatabaseSync } from 'node:sqlite';
import { Kysely, sql } from 'kysely';
import { nodeSqliteDialect } from './sqlite-dialect.ts';

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

export function queryBuilder(database: DatabaseSync): Kysely<IndexTables> {
  return new Kysely<IndexTables>({ dialect: nodeSqliteDialect(database) });
}

/** Makes the tables in an empty database. */
export async function createIndexTables(database: DatabaseSync): Promise<void> {
  const query = queryBuilder(database);
  await query.schema
    .createTable('paths')
    .addColumn('hash_part', 'text', (column) => column.primaryKey().notNull())
    .addColumn('base_name', 'text', (column) => column.notNull())
    .addColumn('url', 'text', (column) => column.notNull())
    .addColumn('compression', 'text', (column) => column.notNull())
    .addColumn('file_hash', 'text')
    .addColumn('file_size_bytes', 'integer')
    .addColumn('nar_hash', 'text', (column) => column.notNull())
    .addColumn('nar_size_bytes', 'integer', (column) => column.notNull())
    .addColumn('deriver', 'text')
    .addColumn('system', 'text')
    .addColumn('content_address', 'text')
    .addColumn('narinfo_size_bytes', 'integer', (column) => column.notNull())
    .addColumn('narinfo_modified_ms', 'real', (column) => column.notNull())
    .modifyEnd(sql`without rowid`)
    .execute();
  await query.schema
    .createTable('refs')
    .addColumn('hash_part', 'text', (column) => column.notNull())
    .addColumn('reference', 'text', (column) => column.notNull())
    .addPrimaryKeyConstraint('refs_key', ['hash_part', 'reference'])
    .modifyEnd(sql`without rowid`)
    .execute();
  await query.schema.createIndex('refs_by_reference').on('refs').column('reference').execute();
  await query.schema.createIndex('paths_by_url').on('paths').column('url').execute();
  await query.schema
    .createTable('state')
    .addColumn('key', 'text', (column) => column.primaryKey().notNull())
    .addColumn('value', 'text', (column) => column.notNull())
    .modifyEnd(sql`without rowid`)
    .execute();
  database.exec(`PRAGMA user_version = ${INDEX_SCHEMA_VERSION}`);
}

/** Whether a database holds exactly the tables of this version. Throws what SQLite throws for a file that is no database. */
export function hasIndexTables(database: DatabaseSync): boolean {
  const row = database.prepare('PRAGMA user_version').get();
  return row?.['user_version'] === INDEX_SCHEMA_VERSION;
}
