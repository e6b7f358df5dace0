import { existsSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { LIMITS } from '../base/limits.ts';
import { explainSqliteError } from './sqlite-error.ts';

// What clients asked a mirror for and did not get. Whoever serves notes it, without the mirror's lock: several processes at once, and nothing
// but a list of wishes is lost with it.

export const MISS_KINDS = ['narinfo', 'source', 'flake', 'channel', 'repository'] as const;
export type MissKind = (typeof MISS_KINDS)[number];

export interface Miss {
  readonly kind: MissKind;
  /** A hash part; the hash of a source, as `Hash`; the name of a flake or channel; host and path of a repository. */
  readonly name: string;
  /** How often it was asked for. */
  readonly count: number;
}

export interface MissTable {
  /** Adds the counts to those of before; the rarest give way where there are too many. */
  add(misses: readonly Miss[]): void;
  /** The most wanted first. */
  list(): readonly Miss[];
  /** Forgets some, such as those that are here by now. */
  remove(misses: readonly Pick<Miss, 'kind' | 'name'>[]): void;
  close(): void;
}

/** Opens the table, and makes it where there is none. Throws `no-space`, and SQLite's error where it cannot be written. */
export function openMisses(file: string): MissTable {
  const database = new DatabaseSync(file, { timeout: BUSY_TIMEOUT_MS });
  const write = (work: () => void): void => {
    try {
      database.exec('BEGIN IMMEDIATE');
      work();
      database.exec('COMMIT');
    } catch (error) {
      if (database.isTransaction) database.exec('ROLLBACK');
      throw explainSqliteError(error, file);
    }
  };
  try {
    // Losing the last wishes in a power cut is better than a disk that is busy with them.
    database.exec('PRAGMA synchronous = OFF');
    write(() =>
      database.exec(
        'CREATE TABLE IF NOT EXISTS misses (kind TEXT NOT NULL, name TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID',
      ),
    );
  } catch (error) {
    database.close();
    throw error;
  }
  const insert = database.prepare(
    'INSERT INTO misses VALUES (?, ?, ?) ON CONFLICT (kind, name) DO UPDATE SET count = min(count + excluded.count, 1000000000)',
  );
  const shrink = database.prepare(
    'DELETE FROM misses WHERE (kind, name) IN (SELECT kind, name FROM misses ORDER BY count DESC, kind, name LIMIT -1 OFFSET ?)',
  );
  const forget = database.prepare('DELETE FROM misses WHERE kind = ? AND name = ?');
  return {
    add: (misses) =>
      write(() => {
        for (const { kind, name, count } of misses) insert.run(kind, name, count);
        shrink.run(LIMITS.missesKept);
      }),
    list: () => database.prepare('SELECT * FROM misses ORDER BY count DESC, kind, name').all().map(asMiss),
    remove: (misses) =>
      write(() => {
        for (const { kind, name } of misses) forget.run(kind, name);
      }),
    close: () => database.close(),
  };
}

/** What was noted by now; nothing where nobody has served. */
export function readMisses(file: string): readonly Miss[] {
  if (!existsSync(file)) return [];
  const table = openMisses(file);
  try {
    return table.list();
  } finally {
    table.close();
  }
}

const BUSY_TIMEOUT_MS = 2000;

function asMiss(row: Record<string, unknown>): Miss {
  return { kind: row['kind'] as MissKind, name: String(row['name']), count: Number(row['count']) };
}
