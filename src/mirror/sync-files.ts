import { execFile } from 'node:child_process';
import { open, stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import { mapConcurrent } from '../base/concurrency.ts';
import { explainWriteError } from '../base/errors.ts';
import { findProgram } from '../base/find-program.ts';
import { LIMITS } from '../base/limits.ts';

/**
 * Waits until the contents of files are on the disk. A few are synced one by one. For many that means a wait for the disk each, so there the
 * whole file system is synced once, by the `sync` program since Node has no call for it: 400 small files cost 10 ms rather than 400.
 */
export async function syncFiles(files: readonly string[]): Promise<void> {
  if (files.length < LIMITS.fileSyncsOneByOne) return syncEach(files);
  const byDevice = Map.groupBy(
    await mapConcurrent(files, LIMITS.fileSyncsInFlight, async (file) => ({ file, device: (await stat(file)).dev })),
    ({ device }) => device,
  );
  for (const group of byDevice.values()) {
    const paths = group.map(({ file }) => file);
    if (paths.length < LIMITS.fileSyncsOneByOne || !(await syncFileSystem(paths))) await syncEach(paths);
  }
}

/** False when the program is missing, cannot do it, or failed: then each file is asked, and names the error. */
async function syncFileSystem([file]: readonly string[]): Promise<boolean> {
  const program = findProgram('sync');
  if (program === undefined || file === undefined) return false;
  try {
    await promisify(execFile)(program, ['-f', file]);
    return true;
  } catch {
    return false;
  }
}

async function syncEach(files: readonly string[]): Promise<void> {
  await mapConcurrent(files, LIMITS.fileSyncsInFlight, syncFile);
}

async function syncFile(file: string): Promise<void> {
  const handle = await open(file, 'r');
  try {
    await handle.sync();
  } catch (error) {
    throw explainWriteError(error, file);
  } finally {
    await handle.close();
  }
}
