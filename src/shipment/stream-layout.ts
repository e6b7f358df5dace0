import { TAR_END_BYTES, type TarMember, tarHeaderBytes, tarMemberBytes } from './tar-header.ts';

/** Where the contents of a member begin; its header lies right in front. */
export interface Place {
  /** Number of the volume, from 1 on. */
  readonly volume: number;
  /** From the start of that volume. */
  readonly offset: number;
}

/**
 * Lays the members of a stream out in volumes, in the order in which they are given. A volume ends where the next member would not
 * fit any more; only a member larger than a volume is cut, and begins a volume of its own.
 */
export class VolumeLayout {
  readonly #volumeSizeBytes: number;
  readonly #sizes: number[] = [0];

  constructor(volumeSizeBytes: number) {
    this.#volumeSizeBytes = volumeSizeBytes;
  }

  place(member: TarMember): Place {
    const start = this.#append(tarMemberBytes(member));
    return { volume: start.volume, offset: start.offset + tarHeaderBytes(member) };
  }

  /** Appends the end of the stream and gives the size of each volume in bytes. */
  finish(): readonly number[] {
    this.#append(TAR_END_BYTES);
    return this.#sizes;
  }

  #append(sizeBytes: number): Place {
    if (this.#used() > 0 && this.#used() + sizeBytes > this.#volumeSizeBytes) this.#sizes.push(0);
    const start = { volume: this.#sizes.length, offset: this.#used() };
    let rest = sizeBytes;
    while (this.#used() + rest > this.#volumeSizeBytes) {
      rest -= this.#volumeSizeBytes - this.#used();
      this.#sizes[this.#sizes.length - 1] = this.#volumeSizeBytes;
      this.#sizes.push(0);
    }
    this.#sizes[this.#sizes.length - 1] = this.#used() + rest;
    return start;
  }

  #used(): number {
    return this.#sizes.at(-1) ?? 0;
  }
}

/** A stretch of one volume. */
export interface VolumeSlice extends Place {
  readonly sizeBytes: number;
}

/** Follows a stream through volumes whose sizes are known, without a care for how they were cut. */
export class StreamWalker {
  /** Where each volume begins in the stream; the last entry is where the stream ends. */
  readonly #starts: readonly number[];
  #position = 0;

  constructor(volumeSizes: readonly number[]) {
    let total = 0;
    this.#starts = [0, ...volumeSizes.map((sizeBytes) => (total += sizeBytes))];
  }

  /** Steps over a member: gives the position of its header in the stream; undefined when the stream is too short for it. */
  step(member: TarMember): number | undefined {
    return this.#advance(tarMemberBytes(member));
  }

  /** Whether nothing but the end of the stream follows. */
  isAtEnd(): boolean {
    return this.#position + TAR_END_BYTES === this.#endPosition();
  }

  /** Where the contents of a member begin whose header lies at `position`. */
  contentsPlace(position: number, member: TarMember): Place {
    const start = this.#place(position);
    const offset = start.offset + tarHeaderBytes(member);
    // Empty contents stay in the volume of their header, even at its very end.
    return offset <= this.#size(start.volume) && (member.sizeBytes === 0 || offset < this.#size(start.volume))
      ? { volume: start.volume, offset }
      : this.#place(position + tarHeaderBytes(member));
  }

  /** The stretches of volumes that hold `sizeBytes` from `position` on. */
  slices(position: number, sizeBytes: number): VolumeSlice[] {
    const slices: VolumeSlice[] = [];
    let rest = sizeBytes;
    while (rest > 0) {
      const place = this.#place(position + sizeBytes - rest);
      const length = Math.min(rest, this.#size(place.volume) - place.offset);
      slices.push({ ...place, sizeBytes: length });
      rest -= length;
    }
    return slices;
  }

  #advance(sizeBytes: number): number | undefined {
    const start = this.#position;
    if (start + sizeBytes > this.#endPosition()) return undefined;
    this.#position += sizeBytes;
    return start;
  }

  #endPosition(): number {
    return this.#starts.at(-1) ?? 0;
  }

  #size(volume: number): number {
    return (this.#starts[volume] ?? 0) - (this.#starts[volume - 1] ?? 0);
  }

  #place(position: number): Place {
    let low = 0;
    let high = this.#starts.length - 2;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((this.#starts[middle] ?? 0) <= position) low = middle;
      else high = middle - 1;
    }
    return { volume: low + 1, offset: position - (this.#starts[low] ?? 0) };
  }
}
