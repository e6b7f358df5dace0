import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, rm, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { explainWriteError, NixferryError, systemErrorCode } from './errors.ts';

/** Every temp file begins so; whoever lists a folder skips such names, and may delete them when no writer runs. */
export const TEMP_NAME_PREFIX = '.tmp-';

export interface WriteFileAtomicOptions {
  /** Permission bits of the new file; secrets say 0o600. Default 0o644, less the umask. */
  readonly mode?: number;
  /** Whether the data are on the disk when the promise resolves. False: a power cut may leave an empty file. Default true. */
  readonly durable?: boolean;
}

/**
 * Replaces `path` by a file that holds `data`, so that after a crash there is either the old file or the whole new one.
 * Throws `no-space` when the disk is full; other system errors come through as they are.
 */
export async function writeFileAtomic(
  path: string,
  data: string | Uint8Array,
  options: WriteFileAtomicOptions = {},
): Promise<void> {
  const { mode = 0o644, durable = true } = options;
  const tempPath = makeTempName(path);
  try {
    const handle = await open(tempPath, 'wx', mode);
    try {
      await handle.writeFile(data);
      if (durable) await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(tempPath, path);
  } catch (error) {
    await rm(tempPath, { force: true });
    throw explainWriteError(error, path);
  }
  if (durable) await syncDirectory(dirname(path));
}

/** A fresh name in the folder of `path`: a rename onto `path` stays within one file system, and is atomic. */
export function makeTempName(path: string): string {
  return join(dirname(path), `${TEMP_NAME_PREFIX}${randomBytes(12).toString('hex')}`);
}

/** Makes a folder and what is missing above it. Node's own recursive way never ends where a folder cannot be made at all, as in /proc. */
export async function makeFolders(path: string): Promise<void> {
  const parent = dirname(path);
  try {
    await mkdir(path);
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'EEXIST') return;
    if (code !== 'ENOENT' || parent === path) throw explainWriteError(error, path);
    await makeFolders(parent);
    await makeLast(path);
  }
}

async function makeLast(path: string): Promise<void> {
  try {
    await mkdir(path);
  } catch (error) {
    if (systemErrorCode(error) !== 'EEXIST') throw explainWriteError(error, path);
  }
}

/** Makes renames and removals in a folder survive a power cut. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } catch (error) {
    // Some network and FUSE file systems cannot sync a folder: there is nothing more to be done about durability there.
    const code = systemErrorCode(error);
    if (code !== 'EINVAL' && code !== 'ENOTSUP' && code !== 'EBADF') throw error;
  } finally {
    await handle.close();
  }
}

/** The names in a folder, sorted; none where there is no such folder. */
export async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).toSorted();
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return [];
    throw error;
  }
}

/**
 * The contents of a regular file, or undefined when there is none.
 * Throws `damage` when it is longer than `maxBytes`, or is a folder, a pipe or a device.
 */
export async function readFileIfExists(path: string, maxBytes: number): Promise<Buffer | undefined> {
  let handle: FileHandle;
  try {
    // O_NONBLOCK: opening a pipe that somebody put on a medium must not hang.
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw error;
  }
  try {
    const stats = await handle.stat();
    if (!stats.isFile()) throw new NixferryError('damage', `${path} is not a regular file`);
    if (stats.size > maxBytes) throw tooLong(path, maxBytes);
    return await readHandle(handle, stats.size, path, maxBytes);
  } finally {
    await handle.close();
  }
}

/**
 * Gathers a whole stream in memory. `what` names it in the `damage` error that is thrown when there are more than `maxBytes`;
 * the source is then closed.
 */
export async function readBounded(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  maxBytes: number,
  what = 'the data',
): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of source) {
    sizeBytes += chunk.length;
    if (sizeBytes > maxBytes) throw tooLong(what, maxBytes);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, sizeBytes);
}

/** Bytes that this user may still write at `path`, which need not exist yet: its nearest existing parent answers. */
export async function freeBytes(path: string): Promise<number> {
  try {
    const stats = await statfs(path);
    return stats.bavail * stats.bsize;
  } catch (error) {
    const parent = dirname(path);
    if (systemErrorCode(error) !== 'ENOENT' || parent === path) throw error;
    return freeBytes(parent);
  }
}

async function readHandle(handle: FileHandle, expectedBytes: number, path: string, maxBytes: number): Promise<Buffer> {
  // One byte more than the size says: the file may be growing, and only a read of 0 bytes proves its end.
  let buffer = Buffer.allocUnsafe(expectedBytes + 1);
  let length = 0;
  for (;;) {
    const { bytesRead } = await handle.read(buffer, length, buffer.length - length, null);
    if (bytesRead === 0) return buffer.subarray(0, length);
    length += bytesRead;
    if (length > maxBytes) throw tooLong(path, maxBytes);
    if (length === buffer.length) buffer = Buffer.concat([buffer], buffer.length * 2);
  }
}

function tooLong(what: string, maxBytes: number): NixferryError {
  return new NixferryError('damage', `${what} is longer than ${maxBytes} bytes, which no honest one is`);
}
