import type { DatabaseSync } from 'node:sqlite';
import { LIMITS } from '../base/limits.ts';
import { NixFormatError } from '../nix/format-error.ts';
import { type NarInfo, parseNarInfo } from '../nix/narinfo.ts';
import { type HashPart, hashPartOf } from '../nix/store-path.ts';
import { dropEntries, type IndexEntry, putEntries, readChangeToken, writeChangeToken } from './index-tables.ts';
import { hashPartOfNarInfoName, narInfoName } from './layout.ts';
import type { Storage, StoredFile } from './storage.ts';

/**
 * Brings the tables level with the storage, reading only the narinfos whose size or time is not what it was: after a crash, after somebody
 * copied files by hand, or for an empty database. Nothing is read at all when the storage says that it has not changed.
 * A narinfo that cannot be parsed is left out, as a client would leave it out; `verify` names it.
 */
export async function refreshIndex(database: DatabaseSync, storage: Storage, storeDir: string): Promise<void> {
  // Taken first: what changes while we read makes the next refresh look again.
  const token = await storage.changeToken();
  if (token !== undefined && token === readChangeToken(database)) return;
  writeChangeToken(database, undefined);
  const known = readKnownFiles(database);
  let pending: HashPart[] = [];
  const readPending = async (): Promise<void> => {
    const stats = await storage.statMany(pending.map(narInfoName));
    const changed = pending.filter((hashPart, position) => {
      const stored = stats[position];
      const before = known.get(hashPart);
      const same = before?.sizeBytes === stored?.sizeBytes && before?.modifiedMs === stored?.modifiedMs;
      // What stays known at the end is no longer there, or no longer readable.
      if (same) known.delete(hashPart);
      return !same;
    });
    pending = [];
    const entries = await readEntries(storage, changed, storeDir);
    for (const { info } of entries) known.delete(hashPartOf(info.storePath));
    putEntries(database, entries);
  };
  for await (const name of storage.list('', { shallow: true })) {
    const hashPart = hashPartOfNarInfoName(name);
    if (hashPart === undefined) continue;
    pending.push(hashPart);
    if (pending.length >= LIMITS.indexBatchRows) await readPending();
  }
  await readPending();
  dropEntries(database, [...known.keys()]);
  writeChangeToken(database, token);
}

async function readEntries(storage: Storage, hashParts: readonly HashPart[], storeDir: string): Promise<IndexEntry[]> {
  const contents = await storage.readMany(hashParts.map(narInfoName));
  return hashParts.flatMap((hashPart, position) => {
    const stored = contents[position];
    const info = stored === undefined ? undefined : parseIndexable(stored.bytes, hashPart, storeDir);
    if (stored === undefined || info === undefined) return [];
    return [{ info, stored: { sizeBytes: stored.sizeBytes, modifiedMs: stored.modifiedMs } }];
  });
}

function parseIndexable(bytes: Buffer, hashPart: HashPart, storeDir: string): NarInfo | undefined {
  try {
    const info = parseNarInfo(bytes, storeDir);
    return hashPartOf(info.storePath) === hashPart ? info : undefined;
  } catch (error) {
    if (error instanceof NixFormatError) return undefined;
    throw error;
  }
}

function readKnownFiles(database: DatabaseSync): Map<HashPart, StoredFile> {
  const rows = database.prepare('SELECT hash_part, narinfo_size_bytes, narinfo_modified_ms FROM paths').all();
  return new Map(
    rows.map((row) => [
      row['hash_part'] as HashPart,
      { sizeBytes: Number(row['narinfo_size_bytes']), modifiedMs: Number(row['narinfo_modified_ms']) },
    ]),
  );
}
