import { existsSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { DatabaseSync } from 'node:sqlite';
import { explainWriteError, NixferryError } from '../base/errors.ts';
import type { PrivateLayout } from './layout.ts';
import { explainSqliteError } from './sqlite-error.ts';

const SQLITE_BUSY = 5;

export interface MirrorLock extends Disposable {
  readonly release: () => void;
}

export type LockPlace = Pick<PrivateLayout, 'folder' | 'lockFile' | 'lockInfoFile'>;

/**
 * Takes the right to write. The lock is an exclusive transaction on an empty SQLite file, which is a lock of the operating system:
 * it ends with the process however that ends, so no stale lock is ever left behind. Throws `mirror-locked` at once when another holds it.
 */
export async function takeMirrorLock(layout: LockPlace, command: string): Promise<MirrorLock> {
  const database = new DatabaseSync(layout.lockFile, { timeout: 0 });
  try {
    database.exec('BEGIN EXCLUSIVE');
  } catch (error) {
    database.close();
    if (isBusy(error)) throw lockedError(layout);
    throw explainSqliteError(error, layout.lockFile);
  }
  const since = new Date().toISOString();
  try {
    // Only information for whoever finds the lock taken, so it need not be durable, nor fit on a full disk.
    await writeFile(layout.lockInfoFile, `${JSON.stringify({ pid: process.pid, command, since })}\n`);
  } catch (error) {
    if (!isNoSpace(error)) {
      database.close();
      throw error;
    }
  }
  const release = (): void => {
    if (database.isOpen) database.close();
  };
  return { release, [Symbol.dispose]: release };
}

/** Who is writing to a mirror now, for people; undefined when nobody is, or it cannot be told. Takes nothing and writes nothing. */
export function readLockHolder(layout: PrivateLayout): string | undefined {
  if (!existsSync(layout.lockFile)) return undefined;
  try {
    const database = new DatabaseSync(layout.lockFile, { readOnly: true, timeout: 0 });
    try {
      database.prepare('SELECT 1 FROM sqlite_schema').get();
    } finally {
      database.close();
    }
    return undefined;
  } catch (error) {
    return isBusy(error) ? describeHolder(layout) : undefined;
  }
}

function isNoSpace(error: unknown): boolean {
  const explained = explainWriteError(error, '');
  return explained instanceof NixferryError && explained.code === 'no-space';
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && 'errcode' in error && error.errcode === SQLITE_BUSY;
}

function lockedError(layout: LockPlace): NixferryError {
  return new NixferryError('mirror-locked', `${layout.folder} is being written by ${describeHolder(layout)}`, {
    hint: 'wait until it has finished, or stop it; then type the same command again',
  });
}

function describeHolder(layout: LockPlace): string {
  try {
    const info: unknown = JSON.parse(readFileSync(layout.lockInfoFile, 'utf8'));
    if (typeof info === 'object' && info !== null && 'pid' in info && 'command' in info && 'since' in info) {
      return `process ${String(info.pid)} (${String(info.command)}) since ${String(info.since)}`;
    }
  } catch {
    // The note about the holder is only a courtesy: without it the lock is taken all the same.
  }
  return 'another process';
}
