import type { DatabaseSync, SQLInputValue } from 'node:sqlite';
import { type Dialect, SqliteDialect } from 'kysely';

/**
 * Lets kysely speak to Node's own SQLite. Its dialect was made for another binding, of which it needs three calls; the database
 * stays the caller's, who closes it.
 */
export function nodeSqliteDialect(database: DatabaseSync): Dialect {
  return new SqliteDialect({
    database: {
      // The owner closes the database itself: kysely would close it only if a query had been made through kysely.
      close: () => undefined,
      prepare: (sql) => {
        const statement = database.prepare(sql);
        return {
          reader: statement.columns().length > 0,
          all: (parameters) => statement.all(...parameters.map(asInput)),
          run: (parameters) => statement.run(...parameters.map(asInput)),
          iterate: (parameters) => statement.iterate(...parameters.map(asInput)),
        };
      },
    },
  });
}

function asInput(value: unknown): SQLInputValue {
  if (value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'bigint')
    return value;
  if (value instanceof Uint8Array) return value;
  throw new TypeError(`SQLite cannot keep a ${typeof value}`);
}
