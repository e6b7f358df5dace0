import type { DatabaseSync } from 'node:sqlite';
import { LIMITS } from '../base/limits.ts';
import type { NarInfo } from '../nix/narinfo.ts';
import { baseNameOf, type HashPart, hashPartOf } from '../nix/store-path.ts';
import { CHANGE_TOKEN_KEY } from './index-schema.ts';
import type { StoredFile } from './storage.ts';

/** A narinfo and what the storage says about the file that holds it. */
export interface IndexEntry {
  readonly info: NarInfo;
  readonly stored: StoredFile;
}

/** Puts entries in, replacing what was known about the same paths. Sorted and in batches: that is how a B-tree grows fast. */
export function putEntries(database: DatabaseSync, entries: readonly IndexEntry[]): void {
  const sorted = entries.toSorted((a, b) => compareText(a.info.storePath, b.info.storePath));
  const putPath = database.prepare('INSERT OR REPLACE INTO paths VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)');
  const dropRefs = database.prepare('DELETE FROM refs WHERE hash_part = ?');
  const putRef = database.prepare('INSERT OR IGNORE INTO refs VALUES (?, ?)');
  for (const batch of batches(sorted)) {
    inTransaction(database, () => {
      for (const { info, stored } of batch) {
        const hashPart = hashPartOf(info.storePath);
        putPath.run(
          hashPart,
          baseNameOf(info.storePath),
          info.url,
          info.compression,
          info.fileHash ?? null,
          info.fileSizeBytes ?? null,
          info.narHash,
          info.narSizeBytes,
          info.deriver === undefined ? null : baseNameOf(info.deriver),
          info.system ?? null,
          info.contentAddress ?? null,
          stored.sizeBytes,
          stored.modifiedMs,
        );
        dropRefs.run(hashPart);
        for (const reference of info.references) putRef.run(hashPart, hashPartOf(reference));
      }
    });
  }
}

export function dropEntries(database: DatabaseSync, hashParts: readonly HashPart[]): void {
  const dropPath = database.prepare('DELETE FROM paths WHERE hash_part = ?');
  const dropRefs = database.prepare('DELETE FROM refs WHERE hash_part = ?');
  for (const batch of batches(hashParts.toSorted())) {
    inTransaction(database, () => {
      for (const hashPart of batch) {
        dropPath.run(hashPart);
        dropRefs.run(hashPart);
      }
    });
  }
}

/** Which state of the storage the tables describe; undefined while they may be behind it. */
export function readChangeToken(database: DatabaseSync): string | undefined {
  const row = database.prepare('SELECT value FROM state WHERE key = ?').get(CHANGE_TOKEN_KEY);
  const value = row?.['value'];
  return typeof value === 'string' ? value : undefined;
}

export function writeChangeToken(database: DatabaseSync, token: string | undefined): void {
  if (token === undefined) database.prepare('DELETE FROM state WHERE key = ?').run(CHANGE_TOKEN_KEY);
  else database.prepare('INSERT OR REPLACE INTO state VALUES (?, ?)').run(CHANGE_TOKEN_KEY, token);
}

/** All of the work, or nothing of it. Throws what the work throws. */
export function inTransaction(database: DatabaseSync, work: () => void): void {
  database.exec('BEGIN IMMEDIATE');
  try {
    work();
    database.exec('COMMIT');
  } catch (error) {
    if (database.isTransaction) database.exec('ROLLBACK');
    throw error;
  }
}

function* batches<Item>(items: readonly Item[]): Generator<readonly Item[]> {
  for (let start = 0; start < items.length; start += LIMITS.indexBatchRows) {
    yield items.slice(start, start + LIMITS.indexBatchRows);
  }
}

function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
