import type { DatabaseSync } from 'node:sqlite';
import { mapConcurrent } from '../base/concurrency.ts';
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
    const found = await mapConcurrent(pending, LIMITS.narInfoReadsInFlight, async (hashPart) => {
      const stored = await storage.stat(narInfoName(hashPart));
      if (stored === undefined) return undefined;
      const before = known.get(hashPart);
      known.delete(hashPart);
      if (before?.sizeBytes === stored.sizeBytes && before.modifiedMs === stored.modifiedMs) return undefined;
      const info = await readIndexable(storage, hashPart, storeDir);
      if (info !== undefined) return { info, stored };
      if (before !== undefined) known.set(hashPart, before);
      return undefined;
    });
    pending = [];
    putEntries(
      database,
      found.filter((entry): entry is IndexEntry => entry !== undefined),
    );
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

async function readIndexable(storage: Storage, hashPart: HashPart, storeDir: string): Promise<NarInfo | undefined> {
  const bytes = await storage.read(narInfoName(hashPart));
  if (bytes === undefined) return undefined;
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
