import { constants, createReadStream, readFileSync, type Stats, statSync } from 'node:fs';
import { copyFile, mkdir, open, opendir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { mapConcurrent } from '../base/concurrency.ts';
import { explainWriteError, NixferryError, systemErrorCode } from '../base/errors.ts';
import { makeTempName, readFileIfExists, syncDirectory } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import {
  type AdoptedFile,
  type ByteRange,
  checkStorageName,
  type NamedBytes,
  type Storage,
  type StoredContents,
  type StoredFile,
} from './storage.ts';
import { syncFiles } from './sync-files.ts';

export interface FileStorageOptions {
  /**
   * Where unfinished files lie, on the same file system; it must exist before the first write. Default: the folder of the file itself.
   * A folder of its own keeps leftovers of a crash out of the sight of web servers and of Nix.
   */
  readonly tempDirectory?: string;
}

/** A storage in a folder of the local file system. */
export function openFileStorage(directory: string, options: FileStorageOptions = {}): Storage {
  return new FileStorage(directory, options.tempDirectory);
}

class FileStorage implements Storage {
  readonly #directory: string;
  readonly #tempDirectory: string | undefined;

  constructor(directory: string, tempDirectory: string | undefined) {
    this.#directory = directory;
    this.#tempDirectory = tempDirectory;
  }

  read(name: string): Promise<Buffer | undefined> {
    return readFileIfExists(this.#path(name), LIMITS.storageReadBytes);
  }

  async stat(name: string): Promise<StoredFile | undefined> {
    const stats = await missingAsUndefined(stat(this.#path(name)));
    return asStored(stats);
  }

  readMany(names: readonly string[]): Promise<readonly (StoredContents | undefined)[]> {
    return inSlices(names, (name) => readNow(this.#path(name)));
  }

  statMany(names: readonly string[]): Promise<readonly (StoredFile | undefined)[]> {
    return inSlices(names, (name) => asStored(statSync(this.#path(name), { throwIfNoEntry: false })));
  }

  async open(name: string, range?: ByteRange): Promise<{ sizeBytes: number; stream: Readable } | undefined> {
    const handle = await missingAsUndefined(open(this.#path(name), constants.O_RDONLY | constants.O_NONBLOCK));
    if (handle === undefined) return undefined;
    try {
      const stats = await handle.stat();
      if (!stats.isFile()) {
        await handle.close();
        return undefined;
      }
      const start = range?.start ?? 0;
      const end = Math.min(range?.end ?? Number.POSITIVE_INFINITY, stats.size - 1);
      if (start > end) {
        await handle.close();
        return { sizeBytes: stats.size, stream: Readable.from([]) };
      }
      const stream = createReadStream('', { fd: handle, start, end, highWaterMark: LIMITS.fileChunkBytes });
      return { sizeBytes: stats.size, stream };
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  write(name: string, bytes: string | Uint8Array): Promise<void> {
    return this.writeInOrder([[{ name, bytes }]]);
  }

  async writeInOrder(groups: Iterable<readonly NamedBytes[]>): Promise<void> {
    for (const batch of batchGroups(groups, LIMITS.storageBatchFiles)) {
      const files = batch.flat();
      const temps: string[] = [];
      for (const folder of this.#foldersOf(files)) await makeFolder(folder, this.#directory);
      try {
        // All the waiting for the disk happens here, side by side; what remains for each group is renames and one sync.
        await mapConcurrent(files, LIMITS.fileSyncsInFlight, async ({ name, bytes }, index) => {
          const path = this.#path(name);
          temps[index] = this.#tempName(path);
          await writeTemp(temps[index], bytes, path);
        });
        await syncFiles(temps);
        let position = 0;
        for (const group of batch) {
          const moves = group.map(({ name }) => ({ file: temps[position++] ?? '', name }));
          await this.#moveAll(moves);
        }
      } catch (error) {
        await Promise.all(temps.map((temp) => rm(temp, { force: true })));
        throw error;
      }
    }
  }

  adopt(file: string, name: string): Promise<void> {
    return this.adoptMany([{ file, name }]);
  }

  async adoptMany(files: readonly AdoptedFile[]): Promise<void> {
    // Nothing may be renamed into place whose bytes a power cut could still take away.
    await syncFiles(files.map(({ file }) => file));
    await this.#moveAll(files);
  }

  async release(name: string, file: string): Promise<void> {
    const path = this.#path(name);
    if ((await this.stat(name)) === undefined) return;
    await move(path, file);
    await syncDirectory(dirname(file));
    await syncDirectory(dirname(path));
  }

  remove(name: string): Promise<void> {
    return this.removeInOrder([[name]]);
  }

  async removeInOrder(groups: Iterable<readonly string[]>): Promise<void> {
    for (const names of groups) {
      const paths = names.map((name) => this.#path(name));
      await mapConcurrent(paths, LIMITS.fileSyncsInFlight, (path) => rm(path, { force: true }));
      await syncExisting(paths.map((path) => dirname(path)));
    }
  }

  async *list(prefix: string, options: { readonly shallow?: boolean } = {}): AsyncGenerator<string> {
    const slash = prefix.lastIndexOf('/');
    const folder = prefix.slice(0, slash + 1);
    if (folder !== '') checkStorageName(folder.slice(0, -1));
    const nameStart = prefix.slice(slash + 1);
    for await (const name of this.#walk(folder, options.shallow === true, nameStart)) yield name;
  }

  async changeToken(): Promise<string | undefined> {
    const stats = await stat(this.#directory, { bigint: true });
    return `${stats.ino}:${stats.mtimeNs}`;
  }

  async *#walk(folder: string, shallow: boolean, nameStart: string): AsyncGenerator<string> {
    const handle = await missingAsUndefined(opendir(join(this.#directory, folder), { bufferSize: 1024 }));
    if (handle === undefined) return;
    const folders: string[] = [];
    for await (const entry of handle) {
      if (entry.name.startsWith('.') || !entry.name.startsWith(nameStart)) continue;
      if (entry.isFile()) yield `${folder}${entry.name}`;
      else if (entry.isDirectory() && !shallow) folders.push(`${folder}${entry.name}/`);
    }
    for (const inner of folders) yield* this.#walk(inner, false, '');
  }

  async #moveAll(files: readonly AdoptedFile[]): Promise<void> {
    const folders = this.#foldersOf(files);
    for (const folder of folders) await makeFolder(folder, this.#directory);
    await mapConcurrent(files, LIMITS.fileSyncsInFlight, ({ file, name }) => move(file, this.#path(name)));
    for (const folder of folders) await syncDirectory(folder);
  }

  #foldersOf(files: readonly { readonly name: string }[]): ReadonlySet<string> {
    return new Set(files.map(({ name }) => dirname(this.#path(name))));
  }

  #tempName(path: string): string {
    return makeTempName(this.#tempDirectory === undefined ? path : join(this.#tempDirectory, 'file'));
  }

  #path(name: string): string {
    return join(this.#directory, checkStorageName(name));
  }
}

/**
 * Calls that return at once cost a tenth of those that go through a thread each; other work gets its turn between two slices.
 */
async function inSlices<Result>(names: readonly string[], call: (name: string) => Result): Promise<Result[]> {
  const results: Result[] = [];
  for (const name of names) {
    results.push(call(name));
    if (results.length % LIMITS.filesPerSlice === 0) await setImmediate();
  }
  return results;
}

function readNow(path: string): StoredContents | undefined {
  const stored = asStored(statSync(path, { throwIfNoEntry: false }));
  if (stored === undefined) return undefined;
  if (stored.sizeBytes > LIMITS.storageReadBytes) {
    throw new NixferryError(
      'damage',
      `${path} is longer than ${LIMITS.storageReadBytes} bytes, which no honest one is`,
    );
  }
  try {
    return { ...stored, bytes: readFileSync(path) };
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function asStored(stats: Stats | undefined): StoredFile | undefined {
  return stats?.isFile() === true ? { sizeBytes: stats.size, modifiedMs: stats.mtimeMs } : undefined;
}

/** Cuts the groups into runs of about `size` files, so that neither memory nor the number of unfinished files grows with the work. */
function* batchGroups(groups: Iterable<readonly NamedBytes[]>, size: number): Generator<(readonly NamedBytes[])[]> {
  let batch: (readonly NamedBytes[])[] = [];
  let count = 0;
  for (const group of groups) {
    for (let start = 0; start < group.length; start += size) {
      const slice = group.slice(start, start + size);
      if (count > 0 && count + slice.length > size) {
        yield batch;
        batch = [];
        count = 0;
      }
      batch.push(slice);
      count += slice.length;
    }
  }
  if (count > 0) yield batch;
}

async function writeTemp(temp: string, bytes: string | Uint8Array, path: string): Promise<void> {
  try {
    await writeFile(temp, bytes, { flag: 'wx', mode: 0o644 });
  } catch (error) {
    throw explainWriteError(error, path);
  }
}

async function move(file: string, path: string): Promise<void> {
  try {
    await rename(file, path);
  } catch (error) {
    if (systemErrorCode(error) !== 'EXDEV') throw explainWriteError(error, path);
    await moveAcross(file, path);
  }
}

/** The folder is another file system (a mount point inside the mirror): copy beside the target first, so that the last step is a rename again. */
async function moveAcross(file: string, path: string): Promise<void> {
  const temp = makeTempName(path);
  try {
    await copyFile(file, temp);
    await syncFiles([temp]);
    await rename(temp, path);
  } catch (error) {
    await rm(temp, { force: true });
    throw explainWriteError(error, path);
  }
  await rm(file, { force: true });
}

/** Makes a folder and its parents, durably up to `root`. */
async function makeFolder(folder: string, root: string): Promise<void> {
  const first = await mkdir(folder, { recursive: true });
  if (first === undefined) return;
  for (let parent = dirname(folder); ; parent = dirname(parent)) {
    await syncDirectory(parent);
    if (parent === dirname(first) || parent === root || parent === dirname(parent)) return;
  }
}

async function syncExisting(folders: readonly string[]): Promise<void> {
  for (const folder of new Set(folders)) await missingAsUndefined(syncDirectory(folder));
}

async function missingAsUndefined<Result>(promise: Promise<Result>): Promise<Result | undefined> {
  try {
    return await promise;
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw error;
  }
}
