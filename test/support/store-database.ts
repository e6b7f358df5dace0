// The database of a Nix store, as Nix makes it, without Nix.

import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { hashBytes } from '../../src/nix/hash.ts';
import { makeStorePath, type StorePath } from '../../src/nix/store-path.ts';

export interface StoreRow {
  readonly name: string;
  readonly hash?: string;
  readonly narSize?: number | null;
  readonly references?: readonly string[];
  readonly self?: boolean;
  readonly deriver?: string;
  readonly sigs?: string;
  readonly ca?: string;
}

export interface StoreDatabase extends Disposable {
  /** Resolves to the path that was registered. */
  add(row: StoreRow): StorePath;
  remove(storePath: string): void;
}

/** Below `root`, as `nix/var/nix/db/db.sqlite`; with a log that is written ahead, as Nix has it by default. */
export function makeStoreDatabase(root: string): StoreDatabase {
  const folder = path.join(root, 'nix/var/nix/db');
  mkdirSync(folder, { recursive: true });
  const database = new DatabaseSync(path.join(folder, 'db.sqlite'));
  database.exec(`
    PRAGMA journal_mode = WAL;
    CREATE TABLE ValidPaths (id integer primary key autoincrement not null, path text unique not null, hash text not null,
      registrationTime integer not null, deriver text, narSize integer, ultimate integer, sigs text, ca text);
    CREATE TABLE Refs (referrer integer not null, reference integer not null, primary key (referrer, reference));
  `);
  const idOf = (storePath: string) =>
    database.prepare('SELECT id FROM ValidPaths WHERE path = ?').get(storePath)?.['id'];
  return {
    add: ({ name, hash = hashBytes('sha256', name), narSize = 120, references = [], self = false, ...rest }) => {
      const digits = makeStorePath('test', 'sha256:00', name.replaceAll(/[^a-z-]/g, '-'), '/nix/store').slice(0, 43);
      const storePath = `${digits}-${name}` as StorePath;
      database
        .prepare(
          'INSERT INTO ValidPaths (path, hash, registrationTime, deriver, narSize, sigs, ca) VALUES (?, ?, 1, ?, ?, ?, ?)',
        )
        .run(storePath, hash, rest.deriver ?? null, narSize, rest.sigs ?? null, rest.ca ?? null);
      for (const reference of [...references, ...(self ? [storePath] : [])]) {
        database.prepare('INSERT INTO Refs VALUES (?, ?)').run(idOf(storePath) ?? null, idOf(reference) ?? null);
      }
      return storePath;
    },
    remove: (storePath) => void database.prepare('DELETE FROM ValidPaths WHERE path = ?').run(storePath),
    [Symbol.dispose]: () => {
      if (database.isOpen) database.close();
    },
  };
}
