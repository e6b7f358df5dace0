import { stat } from 'node:fs/promises';
import { systemErrorCode } from '../base/errors.ts';

/** Another one whenever the records in a folder have changed: they are replaced by renaming, which changes their folder's time. */
export async function recordsToken(folder: string): Promise<string | undefined> {
  try {
    const stats = await stat(folder, { bigint: true });
    return `${stats.ino}:${stats.mtimeNs}`;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return 'none';
    throw error;
  }
}
