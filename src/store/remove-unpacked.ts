import { chmod, lstat, readdir, rm } from 'node:fs/promises';
import { systemErrorCode } from '../base/errors.ts';

/** Removes a tree whose folders are read-only, as `unpackNar` leaves them; nothing when there is none. */
export async function removeUnpacked(path: string): Promise<void> {
  await makeWritable(Buffer.from(path));
  await rm(path, { recursive: true, force: true });
}

async function makeWritable(path: Buffer): Promise<void> {
  try {
    if (!(await lstat(path)).isDirectory()) return;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return;
    throw error;
  }
  await chmod(path, 0o755);
  for (const name of await readdir(path, { encoding: 'buffer' })) {
    await makeWritable(Buffer.concat([path, Buffer.from('/'), name]));
  }
}
