import { opendir, stat } from 'node:fs/promises';
import { DatabaseSync } from 'node:sqlite';
import { systemErrorCode } from '../base/errors.ts';
import type { HashPart } from '../nix/store-path.ts';
import { hasIndexTables } from './index-schema.ts';
import { hashPartOfNarInfoName, type PrivateLayout } from './layout.ts';
import { isSqliteError } from './sqlite-error.ts';

/** How much a mirror holds, for people. */
export interface MirrorGlance {
  readonly paths: number;
  /** Of the NAR files, as they lie there. */
  readonly fileBytes: number;
}

/**
 * What the index says, without looking whether it is level with the narinfos: a server is asked for this again and again, and must read neither all
 * narinfos nor stand still while somebody writes. Undefined when there is no index, or it cannot be read this very moment.
 */
export function glanceAtIndex({ indexFile }: PrivateLayout): MirrorGlance | undefined {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(indexFile, { readOnly: true, timeout: 0 });
    if (!hasIndexTables(database)) return undefined;
    const row = database.prepare(TOTALS).get();
    return { paths: Number(row?.['paths']), fileBytes: Number(row?.['bytes']) };
  } catch (error) {
    if (isSqliteError(error)) return undefined;
    throw error;
  } finally {
    if (database?.isOpen === true) database.close();
  }
}

const TOTALS =
  'SELECT count(*) AS paths, coalesce(sum(coalesce(file_size_bytes, nar_size_bytes)), 0) AS bytes FROM paths';

/** Another one whenever the index has changed. */
export async function indexToken({ indexFile }: PrivateLayout): Promise<string> {
  try {
    const { ino, mtimeNs, size } = await stat(indexFile, { bigint: true });
    return `${ino}:${mtimeNs}:${size}`;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return 'none';
    throw error;
  }
}

/** Some path that clients see; undefined when there is none among the first entries of the folder. */
export async function findAnyPath(directory: string): Promise<HashPart | undefined> {
  const folder = await opendir(directory);
  let looked = 0;
  for await (const { name } of folder) {
    const hashPart = hashPartOfNarInfoName(name);
    if (hashPart !== undefined) return hashPart;
    looked += 1;
    if (looked >= LOOKED_AT) return undefined;
  }
  return undefined;
}

/** Besides narinfos a mirror's folder has few entries, unless there is a listing for each. */
const LOOKED_AT = 1000;
