import { randomBytes } from 'node:crypto';
import { chmod, lstat, mkdir, readdir, readFile, rm, stat } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { systemErrorCode } from '../base/errors.ts';

export interface RoomFolder extends AsyncDisposable {
  /** An empty folder of one's own. */
  readonly path: string;
}

const PREFIX = 'nixferry-rehearsal-';
const LOCK_SUFFIX = '.lock';
const NAME = new RegExp(`^${PREFIX}[0-9a-f]{16}$`);

/** Makes a folder for one rehearsal. It goes when it is disposed of, or, should this process be killed, when the next rehearsal begins. */
export async function makeRoomFolder(workDirectory: string): Promise<RoomFolder> {
  const path = join(workDirectory, `${PREFIX}${randomBytes(8).toString('hex')}`);
  const lock = lockFile(`${path}${LOCK_SUFFIX}`);
  if (lock === undefined) throw new Error(`${path} was never used before, and yet it is locked`);
  await mkdir(path, { mode: 0o755 });
  return {
    path,
    [Symbol.asyncDispose]: async () => {
      await removeFolder(path);
      lock.close();
      await rm(`${path}${LOCK_SUFFIX}`, { force: true });
    },
  };
}

/** Removes what rehearsals left behind that were killed. One that runs holds a lock, which the system takes back when it dies. */
export async function removeAbandonedRooms(workDirectory: string): Promise<number> {
  let removed = 0;
  for (const name of await readdir(workDirectory)) {
    const path = join(workDirectory, name);
    if (!NAME.test(name) || !(await isOwnFolder(path))) continue;
    const lock = lockFile(`${path}${LOCK_SUFFIX}`);
    if (lock === undefined) continue;
    await removeFolder(path);
    lock.close();
    await rm(`${path}${LOCK_SUFFIX}`, { force: true });
    removed += 1;
  }
  return removed;
}

/** The same way as the lock of a mirror: an exclusive transaction on an empty SQLite file is a lock of the operating system. */
function lockFile(file: string): DatabaseSync | undefined {
  const database = new DatabaseSync(file, { timeout: 0 });
  try {
    // Nothing is ever written, so nothing else shall lie about.
    database.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE');
    return database;
  } catch {
    // Held by another, or on a file system without locks: in both cases not ours to take.
    database.close();
    return undefined;
  }
}

/** In a folder that all may write to, somebody else may have laid a link, or a folder of his, under such a name. */
async function isOwnFolder(path: string): Promise<boolean> {
  const stats = await lstat(path);
  return stats.isDirectory() && stats.uid === process.getuid?.();
}

/** Removes a folder with a store in it: its folders are write-protected, which stops everybody but root. */
async function removeFolder(path: string): Promise<void> {
  await refuseMounts(path);
  if (process.getuid?.() !== 0) await makeWritable(path);
  await rm(path, { recursive: true, force: true, maxRetries: 3 });
}

/** Mounts of a room are seen in its namespace only. Were one seen here, then removing would reach what is mounted: this machine's own files. */
async function refuseMounts(path: string): Promise<void> {
  const mounts = await readFile('/proc/self/mountinfo', 'utf8');
  const below = mounts.split('\n').find((line) => (line.split(' ')[4] ?? '').startsWith(path + sep));
  if (below !== undefined) throw new Error(`something is mounted in ${path}: ${below}`);
}

async function makeWritable(folder: string): Promise<void> {
  try {
    await chmod(folder, 0o700);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return;
    throw error;
  }
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) await makeWritable(join(folder, entry.name));
  }
}

/** Where rehearsals build unless told otherwise: not in memory, which /tmp is on many machines. */
export async function usualWorkDirectory(environment: NodeJS.ProcessEnv): Promise<string> {
  const own = environment['TMPDIR'];
  if (own !== undefined && own !== '') return own;
  const stats = await stat('/var/tmp').catch(() => undefined);
  return stats?.isDirectory() === true ? '/var/tmp' : '/tmp';
}
