import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { NixferryError } from '../base/errors.ts';
import { explainReadError } from './medium-error.ts';
import type { FoundVolume } from './read-shipment.ts';
import type { StreamWalker, VolumeSlice } from './stream-layout.ts';
import { VolumeCheck } from './volume-check.ts';
import type { Extent } from './volume-copies.ts';

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
  readonly #volumes: FoundVolume[];
  readonly #walker: StreamWalker;
  readonly #check: VolumeCheck;
  /** Least recently used first. */
  readonly #open = new Map<string, OpenVolume>();

  constructor(volumes: readonly FoundVolume[], walker: StreamWalker, signal?: AbortSignal) {
    this.#volumes = [...volumes];
    this.#walker = walker;
    this.#check = new VolumeCheck(signal);
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

  /** The names of the volumes that hold these stretches, whether they are there or not, for messages. */
  namesOf(extents: readonly Extent[]): string[] {
    return [...this.#volumesOf(extents).values()].map(({ name }) => name);
  }

  /** The names of those of them that are not there. */
  missingOf(extents: readonly Extent[]): string[] {
    return [...this.#volumesOf(extents).values()].filter(({ files }) => files.length === 0).map(({ name }) => name);
  }

  /**
   * The names of those of them that are not what the sender signed; of all when each by itself is. Where there are several they are read as a whole for that.
   */
  async damagedOf(extents: readonly Extent[]): Promise<string[]> {
    const volumes = [...this.#volumesOf(extents).values()];
    if (volumes.length === 1) return this.namesOf(extents);
    const damaged: string[] = [];
    for (const volume of volumes) {
      if ((await this.#check.goodCopy(volume)) === undefined) damaged.push(volume.name);
    }
    return damaged.length > 0 ? damaged : this.namesOf(extents);
  }

  /** Makes of each volume of these stretches the copy that is good as a whole the first. True when every one has such a copy. */
  async preferGoodCopies(extents: readonly Extent[]): Promise<boolean> {
    for (const [index, volume] of this.#volumesOf(extents)) {
      const good = await this.#check.goodCopy(volume);
      if (good === undefined) return false;
      this.#volumes[index] = { ...volume, files: [good, ...volume.files.filter((file) => file !== good)] };
    }
    return true;
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

  /** By position among all volumes. */
  #volumesOf(extents: readonly Extent[]): Map<number, FoundVolume> {
    const slices = extents.flatMap(({ position, sizeBytes }) => this.#walker.slices(position, sizeBytes));
    const found = new Map<number, FoundVolume>();
    for (const { volume: number } of slices) {
      const volume = this.#volumes[number - 1];
      if (volume !== undefined) found.set(number - 1, volume);
    }
    return found;
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
