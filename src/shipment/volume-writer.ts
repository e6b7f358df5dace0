import { createHash, type Hash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { explainWriteError } from '../base/errors.ts';
import { syncDirectory } from '../base/files.ts';
import type { PlannedVolume } from './pack-layout.ts';
import { checkReadBack } from './read-back.ts';

export interface VolumeWriterOptions {
  /** Of the shipment; those in it that the volumes lie in are there. */
  readonly folder: string;
  /** In order. */
  readonly volumes: readonly PlannedVolume[];
  /** How many of them are written already; what goes there is dropped. */
  readonly finishedVolumes: number;
  /** Called for each volume, in order, once it is flushed and was read back well. */
  readonly onVolume: (volume: WrittenVolume) => Promise<void>;
  readonly signal: AbortSignal | undefined;
}

export interface WrittenVolume extends PlannedVolume {
  /** In hex. */
  readonly sha256: string;
}

/** Cuts a stream into volumes whose sizes are known. A volume is read back while the next one is being written. */
export class VolumeWriter implements AsyncDisposable {
  readonly #options: VolumeWriterOptions;
  readonly #pending = Buffer.allocUnsafe(WRITE_BYTES * 2);
  #half = 0;
  #pendingBytes = 0;
  #writing: Promise<void> = Promise.resolve();
  #checking: Promise<void> = Promise.resolve();
  #volume = 0;
  #volumeBytes = 0;
  #sha256: Hash = createHash('sha256');
  #handle: FileHandle | undefined;

  constructor(options: VolumeWriterOptions) {
    this.#options = options;
  }

  /** Takes the next bytes of the stream; they may be reused when this returns. Throws `no-space` or `damage` (read back wrong). */
  async write(bytes: Uint8Array): Promise<void> {
    for (let rest = bytes; rest.length > 0; ) {
      const part = rest.subarray(0, this.#sizeOfVolume() - this.#volumeBytes);
      if (this.#isFinished()) this.#volumeBytes += part.length;
      else await this.#append(part);
      rest = rest.subarray(part.length);
      if (this.#volumeBytes === this.#sizeOfVolume()) await this.#closeVolume();
    }
  }

  /** Moves on over `sizeBytes` if all of them lie in finished volumes; says whether they do. */
  trySkip(sizeBytes: number): boolean {
    const { volumes, finishedVolumes } = this.#options;
    let ahead = -this.#volumeBytes;
    for (const volume of volumes.slice(this.#volume, finishedVolumes)) ahead += volume.sizeBytes;
    if (sizeBytes > ahead) return false;
    for (let rest = sizeBytes; rest > 0; ) {
      const step = Math.min(rest, this.#sizeOfVolume() - this.#volumeBytes);
      rest -= step;
      this.#volumeBytes += step;
      if (this.#volumeBytes === this.#sizeOfVolume()) this.#nextVolume();
    }
    return true;
  }

  /** Waits until the last volume has been read back. The stream must have filled all volumes. */
  async finish(): Promise<void> {
    if (this.#volume !== this.#options.volumes.length) throw new Error('the stream is shorter than its volumes');
    await this.#checking;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled([this.#writing, this.#checking]);
    await this.#handle?.close();
  }

  async #append(part: Uint8Array): Promise<void> {
    for (let rest = part; rest.length > 0; ) {
      const taken = rest.subarray(0, WRITE_BYTES - this.#pendingBytes);
      this.#pending.set(taken, this.#half * WRITE_BYTES + this.#pendingBytes);
      this.#pendingBytes += taken.length;
      this.#volumeBytes += taken.length;
      rest = rest.subarray(taken.length);
      if (this.#pendingBytes === WRITE_BYTES) await this.#flush();
    }
  }

  // One half of the memory is hashed and filled while the other is on its way to the medium.
  async #flush(): Promise<void> {
    const start = this.#half * WRITE_BYTES;
    const chunk = this.#pending.subarray(start, start + this.#pendingBytes);
    this.#sha256.update(chunk);
    this.#half = 1 - this.#half;
    this.#pendingBytes = 0;
    await this.#writing;
    const path = this.#path();
    this.#handle ??= await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC, 0o644);
    this.#writing = writeAll(this.#handle, chunk, path);
    // The failure is met at the next flush; until then it must not count as unhandled.
    this.#writing.catch(() => {});
  }

  async #closeVolume(): Promise<void> {
    if (this.#isFinished()) return this.#nextVolume();
    await this.#flush();
    await this.#writing;
    const path = this.#path();
    try {
      await this.#handle?.sync();
    } catch (error) {
      throw explainWriteError(error, path);
    }
    await this.#handle?.close();
    this.#handle = undefined;
    await syncDirectory(dirname(path));
    const written = { ...this.#planned(), sha256: this.#sha256.digest('hex') };
    this.#nextVolume();
    await this.#checking;
    this.#checking = this.#check(path, written);
    this.#checking.catch(() => {});
  }

  async #check(path: string, written: WrittenVolume): Promise<void> {
    await checkReadBack(path, written, this.#options.signal);
    await this.#options.onVolume(written);
  }

  #nextVolume(): void {
    this.#volume++;
    this.#volumeBytes = 0;
    this.#sha256 = createHash('sha256');
  }

  #isFinished(): boolean {
    return this.#volume < this.#options.finishedVolumes;
  }

  #path(): string {
    return join(this.#options.folder, this.#planned().file);
  }

  #sizeOfVolume(): number {
    return this.#planned().sizeBytes;
  }

  #planned(): PlannedVolume {
    const volume = this.#options.volumes[this.#volume];
    if (volume === undefined) throw new Error('the stream is longer than its volumes');
    return volume;
  }
}

const WRITE_BYTES = 1024 * 1024;

async function writeAll(handle: FileHandle, bytes: Uint8Array, path: string): Promise<void> {
  try {
    for (let rest = bytes; rest.length > 0; ) {
      const { bytesWritten } = await handle.write(rest, 0, rest.length);
      rest = rest.subarray(bytesWritten);
    }
  } catch (error) {
    throw explainWriteError(error, path);
  }
}
