import { DatabaseSync } from 'node:sqlite';
import type { Hash } from '../nix/hash.ts';
import { type HashPart, type StorePath, storePathFromBaseName } from '../nix/store-path.ts';
import type { IndexedClosure, IndexedPath, IndexTotals, MirrorIndex } from './index.ts';
import { copyIndexFile, openIndexToRead, openIndexToWrite, removeIndexFile } from './index-file.ts';
import type * as IndexQueries from './index-queries.ts';
import { refreshIndex } from './index-refresh.ts';
import { dropEntries, type IndexEntry, putEntries, readChangeToken, writeChangeToken } from './index-tables.ts';
import { explainSqliteError } from './sqlite-error.ts';
import type { Storage } from './storage.ts';

export interface OpenIndexOptions {
  readonly file: string;
  readonly storage: Storage;
  readonly storeDir: string;
  /** Without it nothing is ever written: what the file lacks is added to a copy in memory. */
  readonly writable: boolean;
}

/** Opens the index; the file is touched at the first question. A missing, damaged or foreign file is as good as an empty one. */
export function openIndex(options: OpenIndexOptions): MirrorIndex {
  return new SqliteIndex(options);
}

const PATH_COLUMNS = `hash_part, base_name, url, compression, file_hash, file_size_bytes, nar_hash, nar_size_bytes, deriver, content_address`;

class SqliteIndex implements MirrorIndex {
  readonly #options: OpenIndexOptions;
  #opening: Promise<OpenTables> | undefined;

  constructor(options: OpenIndexOptions) {
    this.#options = options;
  }

  async has(hashPart: HashPart): Promise<boolean> {
    const { hasPath } = await this.#tables();
    return hasPath.get(hashPart) !== undefined;
  }

  async get(hashPart: HashPart): Promise<IndexedPath | undefined> {
    const { getPath } = await this.#tables();
    const row = getPath.get(hashPart);
    return row === undefined ? undefined : this.#asPath(row);
  }

  async totals(): Promise<IndexTotals> {
    const { query, readTotals } = await this.#tables();
    return readTotals(query);
  }

  async closure(hashParts: Iterable<HashPart>): Promise<IndexedClosure> {
    const { getPath, getReferences } = await this.#tables();
    const seen = new Set<HashPart>(hashParts);
    const paths: IndexedPath[] = [];
    const missing: HashPart[] = [];
    // A set is walked in the order of insertion, also over what is added meanwhile: it is the queue.
    for (const hashPart of seen) {
      const row = getPath.get(hashPart);
      if (row === undefined) {
        missing.push(hashPart);
        continue;
      }
      paths.push(this.#asPath(row));
      for (const reference of getReferences.all(hashPart)) seen.add(reference['reference'] as HashPart);
    }
    return { paths: paths.toSorted((a, b) => (a.hashPart < b.hashPart ? -1 : 1)), missing: missing.toSorted() };
  }

  async referrers(hashPart: HashPart): Promise<readonly HashPart[]> {
    const { query } = await this.#tables();
    const rows = await query
      .selectFrom('refs')
      .select('hash_part')
      .where('reference', '=', hashPart)
      .where('hash_part', '!=', hashPart)
      .orderBy('hash_part')
      .execute();
    return rows.map((row) => row.hash_part as HashPart);
  }

  async references(hashPart: HashPart): Promise<readonly HashPart[]> {
    const { getReferences } = await this.#tables();
    return getReferences.all(hashPart).map((row) => row['reference'] as HashPart);
  }

  async outputsOf(deriver: StorePath): Promise<readonly StorePath[]> {
    const { query } = await this.#tables();
    const rows = await query
      .selectFrom('paths')
      .select('base_name')
      .where('deriver', '=', deriver.slice(this.#options.storeDir.length + 1))
      .orderBy('base_name')
      .execute();
    return rows.map((row) => storePathFromBaseName(row.base_name, this.#options.storeDir));
  }

  async usersOfNar(url: string): Promise<number> {
    const { query } = await this.#tables();
    const row = await query
      .selectFrom('paths')
      .select(({ fn }) => fn.countAll<number>().as('users'))
      .where('url', '=', url)
      .executeTakeFirstOrThrow();
    return row.users;
  }

  async *flatOutputs(): AsyncGenerator<IndexedPath, void, undefined> {
    const { listFlat } = await this.#tables();
    for (const row of listFlat.iterate()) yield this.#asPath(row);
  }

  async hashParts(): Promise<readonly HashPart[]> {
    const { query } = await this.#tables();
    const rows = await query.selectFrom('paths').select('hash_part').orderBy('hash_part').execute();
    return rows.map((row) => row.hash_part as HashPart);
  }

  async *names(): AsyncGenerator<{ readonly baseName: string; readonly url: string }, void, undefined> {
    const { listNames } = await this.#tables();
    for (const row of listNames.iterate()) {
      yield { baseName: row['base_name'] as string, url: row['url'] as string };
    }
  }

  async expectChanges(): Promise<void> {
    await this.#change(() => undefined, false);
  }

  async add(entries: readonly IndexEntry[]): Promise<void> {
    await this.#change((database) => putEntries(database, entries));
  }

  async drop(hashParts: readonly HashPart[]): Promise<void> {
    await this.#change((database) => dropEntries(database, hashParts));
  }

  async rebuild(): Promise<void> {
    if (!this.#options.writable) throw new Error('an index that was opened to read cannot be rebuilt');
    await this.close();
    // An empty file is filled from the narinfos when it is opened; emptying a damaged one could fail.
    await removeIndexFile(this.#options.file);
    await this.#tables();
  }

  async refresh(): Promise<void> {
    if (this.#opening === undefined) return;
    const { database, inMemory } = await this.#opening;
    const token = await this.#options.storage.changeToken();
    if (token !== undefined && token === readChangeToken(database)) return;
    if (inMemory || this.#options.writable) {
      await refreshIndex(database, this.#options.storage, this.#options.storeDir);
    } else {
      await this.close();
      await this.#tables();
    }
  }

  async close(): Promise<void> {
    const opening = this.#opening;
    this.#opening = undefined;
    if (opening !== undefined) (await opening).database.close();
  }

  async #change(work: (database: DatabaseSync) => void, level = true): Promise<void> {
    // Opening brings the tables level with the storage, so afterwards they may be said to be so again.
    const { database } = await this.#tables();
    try {
      writeChangeToken(database, undefined);
      work(database);
      if (level) writeChangeToken(database, await this.#options.storage.changeToken());
    } catch (error) {
      throw explainSqliteError(error, this.#options.file);
    }
  }

  #tables(): Promise<OpenTables> {
    this.#opening ??= openTables(this.#options).catch((error: unknown) => {
      this.#opening = undefined;
      throw explainSqliteError(error, this.#options.file);
    });
    return this.#opening;
  }

  #asPath(row: Record<string, unknown>): IndexedPath {
    const { storeDir } = this.#options;
    const deriver = row['deriver'] as string | null;
    return {
      hashPart: row['hash_part'] as HashPart,
      storePath: storePathFromBaseName(row['base_name'] as string, storeDir),
      url: row['url'] as string,
      compression: row['compression'] as string,
      fileHash: (row['file_hash'] as Hash | null) ?? undefined,
      fileSizeBytes: (row['file_size_bytes'] as number | null) ?? undefined,
      narHash: row['nar_hash'] as Hash,
      narSizeBytes: row['nar_size_bytes'] as number,
      deriver: deriver === null ? undefined : storePathFromBaseName(deriver, storeDir),
      contentAddress: (row['content_address'] as string | null) ?? undefined,
    };
  }
}

type Queries = Pick<typeof IndexQueries, 'queryBuilder' | 'readTotals'>;
type OpenTables = Awaited<ReturnType<typeof prepareTables>>;

async function openTables(options: OpenIndexOptions): Promise<OpenTables> {
  const { file, storage, storeDir, writable } = options;
  // Not before the first question: whoever opens a mirror for its keys alone, as a server does, starts without the query builder.
  const queries = await import('./index-queries.ts');
  if (writable) {
    const database = await openIndexToWrite(file);
    await refreshIndex(database, storage, storeDir);
    return prepareTables(database, queries, false);
  }
  const onDisk = openIndexToRead(file);
  if (onDisk !== undefined) {
    const token = await storage.changeToken();
    if (token !== undefined && token === readChangeToken(onDisk)) return prepareTables(onDisk, queries, false);
    onDisk.close();
  }
  const database = new DatabaseSync(':memory:');
  await queries.createIndexTables(database);
  if (onDisk !== undefined) copyIndexFile(file, database);
  await refreshIndex(database, storage, storeDir);
  return prepareTables(database, queries, true);
}

function prepareTables(database: DatabaseSync, { queryBuilder, readTotals }: Queries, inMemory: boolean) {
  return {
    database,
    inMemory,
    query: queryBuilder(database),
    readTotals,
    hasPath: database.prepare('SELECT 1 FROM paths WHERE hash_part = ?'),
    getPath: database.prepare(`SELECT ${PATH_COLUMNS} FROM paths WHERE hash_part = ?`),
    listNames: database.prepare('SELECT base_name, url FROM paths ORDER BY hash_part'),
    listFlat: database.prepare(
      `SELECT ${PATH_COLUMNS} FROM paths WHERE content_address GLOB 'fixed:*' AND content_address NOT GLOB 'fixed:r:*' ORDER BY hash_part`,
    ),
    getReferences: database.prepare('SELECT reference FROM refs WHERE hash_part = ? ORDER BY reference'),
  };
}
