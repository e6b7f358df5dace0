import { NixferryError } from '../base/errors.ts';

const SQLITE_FULL = 13;

/** Turns SQLite's word for a full disk into `no-space`; gives every other error back as it is. */
export function explainSqliteError(error: unknown, file: string): unknown {
  if (!isSqliteError(error) || !('errcode' in error)) return error;
  if (error.errcode !== SQLITE_FULL) return error;
  return new NixferryError('no-space', `no space left while writing ${file}`, {
    hint: 'free some room, then type the same command again',
    cause: error,
  });
}

export function isSqliteError(error: unknown): error is Error {
  return error instanceof Error && 'code' in error && error.code === 'ERR_SQLITE_ERROR';
}
