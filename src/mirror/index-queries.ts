import type { DatabaseSync } from 'node:sqlite';
import { Kysely, sql } from 'kysely';
import type { IndexTotals } from './index.ts';
import { INDEX_SCHEMA_VERSION, type IndexTables } from './index-schema.ts';
import { nodeSqliteDialect } from './sqlite-dialect.ts';

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

/** What all paths take together. */
export async function readTotals(query: Kysely<IndexTables>): Promise<IndexTotals> {
  const nars = query
    .selectFrom('paths')
    .select((path) => [
      sql<number>`coalesce(max(file_size_bytes), max(nar_size_bytes))`.as('bytes'),
      path.ref('url').as('url'),
    ])
    .groupBy('url');
  const paths = await query
    .selectFrom('paths')
    .select(({ fn }) => [
      fn.countAll<number>().as('paths'),
      sql<number>`coalesce(sum(nar_size_bytes), 0)`.as('narBytes'),
    ])
    .executeTakeFirstOrThrow();
  const files = await query
    .selectFrom(nars.as('nars'))
    .select(sql<number>`coalesce(sum(bytes), 0)`.as('fileBytes'))
    .executeTakeFirstOrThrow();
  return { ...paths, ...files };
}
