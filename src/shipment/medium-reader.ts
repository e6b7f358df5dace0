import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { NixferryError } from '../base/errors.ts';
import { explainReadError } from './medium-error.ts';
import type { FoundVolume } from './read-shipment.ts';
import type { StreamWalker, VolumeSlice } from './stream-layout.ts';

/** A part of the stream lies in a volume that is in none of the folders. */
export class VolumeMissing extends Error {
  override readonly name = 'VolumeMissing';
  readonly volume: FoundVolume;

  constructor(volume: FoundVolume) {
    super(`the volume ${volume.name} is missing`);
    this.volume = volume;
  }
}

/** Reads the stream of a shipment by position, from volumes that may be missing, cut off, or there several times. Never writes. */
export class MediumReader implements AsyncDisposable {
  readonly #volumes: readonly FoundVolume[];
  readonly #walker: StreamWalker;
  /** Least recently used first. */
  readonly #open = new Map<string, OpenVolume>();

  constructor(volumes: readonly FoundVolume[], walker: StreamWalker) {
    this.#volumes = volumes;
    this.#walker = walker;
  }

  /** Of the whole stream. */
  get sizeBytes(): number {
    return this.#volumes.reduce((total, volume) => total + volume.sizeBytes, 0);
  }

  /** How many times at most a volume of this stretch is there. Throws `VolumeMissing` when one is not there at all. */
  copiesOf(position: number, sizeBytes: number): number {
    const counts = this.#walker.slices(position, sizeBytes).map((slice) => this.#volumeOf(slice).files.length);
    return Math.max(1, ...counts);
  }

  /** The names of the volumes that hold this stretch, whether they are there or not, for messages. */
  namesOf(position: number, sizeBytes: number): string {
    return this.#walker
      .slices(position, sizeBytes)
      .map((slice) => this.#volumes[slice.volume - 1]?.name)
      .join(' and ');
  }

  /** The names of those volumes of this stretch that are not there. */
  missingOf(position: number, sizeBytes: number): string[] {
    return this.#walker
      .slices(position, sizeBytes)
      .map((slice) => this.#volumes[slice.volume - 1])
      .filter((volume) => volume?.files.length === 0)
      .map((volume) => volume?.name ?? '');
  }

  /** A stretch as a whole. Throws `damage` when a volume ends too early or cannot be read. `copy` counts from 0. */
  async read(position: number, sizeBytes: number, copy: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafeSlow(sizeBytes);
    let filled = 0;
    for (const slice of this.#walker.slices(position, sizeBytes)) {
      await this.#fill(bytes.subarray(filled, filled + slice.sizeBytes), slice, copy);
      filled += slice.sizeBytes;
    }
    return bytes;
  }

  /** A stretch in chunks, each in memory of its own. Throws as `read`. */
  async *stream(position: number, sizeBytes: number, copy: number): AsyncGenerator<Buffer, void, undefined> {
    for (let done = 0; done < sizeBytes; ) {
      const chunk = await this.read(position + done, Math.min(CHUNK_BYTES, sizeBytes - done), copy);
      done += chunk.length;
      yield chunk;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const volume of this.#open.values()) await closeQuietly(volume);
    this.#open.clear();
  }

  async #fill(target: Buffer, slice: VolumeSlice, copy: number): Promise<void> {
    const { files, name } = this.#volumeOf(slice);
    const path = files[Math.min(copy, files.length - 1)]?.path ?? '';
    const volume = await this.#use(path);
    try {
      const handle = await volume.handle;
      for (let filled = 0; filled < target.length; ) {
        const { bytesRead } = await handle.read(target, filled, target.length - filled, slice.offset + filled);
        if (bytesRead === 0)
          throw new NixferryError('damage', `${path} ends too early: the volume ${name} was cut off`);
        filled += bytesRead;
      }
    } catch (error) {
      throw explainReadError(error, path);
    } finally {
      volume.users--;
    }
  }

  #volumeOf(slice: VolumeSlice): FoundVolume {
    const volume = this.#volumes[slice.volume - 1];
    if (volume === undefined) throw new Error(`the stream has no volume ${slice.volume}`);
    if (volume.files.length === 0) throw new VolumeMissing(volume);
    return volume;
  }

  async #use(path: string): Promise<OpenVolume> {
    const known = this.#open.get(path);
    this.#open.delete(path);
    // O_NONBLOCK: a pipe in the place of a volume must not hang.
    const volume = known ?? { handle: open(path, constants.O_RDONLY | constants.O_NONBLOCK), users: 0 };
    volume.users++;
    this.#open.set(path, volume);
    for (const [oldPath, old] of this.#open) {
      if (this.#open.size <= OPEN_VOLUMES) break;
      if (old.users > 0) continue;
      this.#open.delete(oldPath);
      await closeQuietly(old);
    }
    return volume;
  }
}

interface OpenVolume {
  readonly handle: Promise<FileHandle>;
  users: number;
}

/** Unused ones beyond this are closed; a shipment may have thousands. */
const OPEN_VOLUMES = 8;
const CHUNK_BYTES = 1024 * 1024;

async function closeQuietly(volume: OpenVolume): Promise<void> {
  try {
    await (await volume.handle).close();
  } catch {
    // It was read only: there is nothing left to lose.
  }
}
