import { close, constants, fstat, open, read, type Stats } from 'node:fs';
import { systemErrorCode } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { StoredFile } from '../mirror/storage.ts';

/**
 * A regular file that is open for reading. On node:fs with callbacks: the handles of node:fs/promises cost more than the reading when files
 * are small.
 */
export class OpenedFile implements StoredFile {
  readonly sizeBytes: number;
  readonly modifiedMs: number;
  readonly #fd: number;
  #reading = false;
  #closed = false;

  constructor(fd: number, stats: Stats) {
    this.sizeBytes = stats.size;
    this.modifiedMs = stats.mtimeMs;
    this.#fd = fd;
  }

  /** Fills the beginning of `buffer` with what is at `position`, and resolves to how many bytes that were; 0 at the end. */
  read(buffer: Uint8Array, position: number): Promise<number> {
    if (this.#closed) return Promise.resolve(0);
    this.#reading = true;
    return new Promise((resolve, reject) => {
      read(this.#fd, buffer, 0, buffer.length, position, (error, bytesRead) => {
        this.#reading = false;
        if (this.#closed) closeDescriptor(this.#fd);
        if (error === null) resolve(bytesRead);
        else reject(error);
      });
    });
  }

  /** The whole contents. */
  async *chunks(): AsyncGenerator<Buffer> {
    for (let position = 0; ; ) {
      const chunk = Buffer.allocUnsafe(LIMITS.fileChunkBytes);
      const readBytes = await this.read(chunk, position);
      if (readBytes === 0) return;
      position += readBytes;
      yield chunk.subarray(0, readBytes);
    }
  }

  /** May be called at any time, and twice; a read that is under way ends first, since its number may be given to another file at once. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (!this.#reading) closeDescriptor(this.#fd);
  }
}

/** Undefined: nothing is there, or no regular file. `link`: only a link is there, which was not followed. */
export async function openRegularFile(path: string, follow: boolean): Promise<OpenedFile | 'link' | undefined> {
  let fd: number;
  try {
    fd = await openDescriptor(path, follow ? FLAGS : FLAGS | constants.O_NOFOLLOW);
  } catch (error) {
    const code = systemErrorCode(error) ?? '';
    if (code === 'ELOOP' && !follow) return 'link';
    if (NOT_THERE.has(code)) return undefined;
    throw error;
  }
  try {
    const stats = await describe(fd);
    if (stats.isFile()) return new OpenedFile(fd, stats);
    closeDescriptor(fd);
    return undefined;
  } catch (error) {
    closeDescriptor(fd);
    throw error;
  }
}

/** What the system says when a name leads nowhere. */
export const NOT_THERE: ReadonlySet<string> = new Set(['ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG', 'ENXIO']);

/** A pipe or a device that somebody put there must not make opening hang. */
const FLAGS = constants.O_RDONLY | constants.O_NONBLOCK;

function openDescriptor(path: string, flags: number): Promise<number> {
  return new Promise((resolve, reject) => {
    open(path, flags, (error, fd) => (error === null ? resolve(fd) : reject(error)));
  });
}

function describe(fd: number): Promise<Stats> {
  return new Promise((resolve, reject) => {
    fstat(fd, (error, stats) => (error === null ? resolve(stats) : reject(error)));
  });
}

/** Nothing was written to it: whatever goes wrong here has no consequence. */
function closeDescriptor(fd: number): void {
  close(fd, () => {});
}
