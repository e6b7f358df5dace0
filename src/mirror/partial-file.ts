import { type FileHandle, open, readFile } from 'node:fs/promises';
import { explainWriteError } from '../base/errors.ts';

/** A file that grows from its beginning, for a transfer that may have to be continued by another process. */
export class PartialFile implements AsyncDisposable {
  readonly path: string;
  #handle: FileHandle | undefined;
  #sizeBytes: number;
  readonly #kept: boolean;
  readonly #onSize: ((sizeBytes: number) => void) | undefined;

  /** `keptBytes` of what is there already are kept; nothing is opened before the first write. `onSize` hears of each change. */
  constructor(path: string, keptBytes: number, onSize?: (sizeBytes: number) => void) {
    this.path = path;
    this.#sizeBytes = keptBytes;
    this.#kept = keptBytes > 0;
    this.#onSize = onSize;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  async append(bytes: Uint8Array): Promise<void> {
    if (bytes.length === 0) return;
    const handle = await this.#open();
    try {
      for (let done = 0; done < bytes.length; ) {
        const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, this.#sizeBytes);
        done += bytesWritten;
        this.#sizeBytes += bytesWritten;
      }
      this.#onSize?.(this.#sizeBytes);
    } catch (error) {
      throw explainWriteError(error, this.path);
    }
  }

  /** Cuts the file down to its beginning. */
  async truncate(sizeBytes: number): Promise<void> {
    this.#sizeBytes = sizeBytes;
    this.#onSize?.(sizeBytes);
    await this.#handle?.truncate(sizeBytes);
  }

  /** Says that this is all: what an earlier, longer try left behind it is cut off. Durable it becomes when a storage adopts it. */
  async finish(): Promise<void> {
    const handle = await this.#open();
    try {
      if (this.#kept) await handle.truncate(this.#sizeBytes);
    } catch (error) {
      throw explainWriteError(error, this.path);
    }
  }

  /** What is kept, as one piece. */
  async read(): Promise<Buffer> {
    if (this.#sizeBytes === 0) return Buffer.alloc(0);
    const bytes = await readFile(this.path);
    return bytes.subarray(0, this.#sizeBytes);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    await handle?.close();
  }

  async #open(): Promise<FileHandle> {
    if (this.#handle !== undefined) return this.#handle;
    try {
      this.#handle = await open(this.path, this.#sizeBytes === 0 ? 'w' : 'r+');
      return this.#handle;
    } catch (error) {
      throw explainWriteError(error, this.path);
    }
  }
}
