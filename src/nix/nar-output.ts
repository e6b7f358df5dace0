import { narPaddingBytes } from './nar-format.ts';

/** Gathers the small strings of a NAR into chunks that are worth passing on. */
export class NarOutput {
  #buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  #usedBytes = 0;

  /** Whether it is time to `take`. */
  get full(): boolean {
    return this.#usedBytes >= CHUNK_BYTES - SLACK_BYTES;
  }

  get empty(): boolean {
    return this.#usedBytes === 0;
  }

  /** Bytes as they are. */
  bytes(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#buffer.set(bytes, this.#usedBytes);
    this.#usedBytes += bytes.length;
  }

  /** A string: length, bytes, padding. */
  string(bytes: Uint8Array): void {
    this.length(bytes.length);
    this.bytes(bytes);
    this.padding(bytes.length);
  }

  length(length: number): void {
    this.#reserve(8);
    this.#buffer.writeUInt32LE(length % 2 ** 32, this.#usedBytes);
    this.#buffer.writeUInt32LE(Math.floor(length / 2 ** 32), this.#usedBytes + 4);
    this.#usedBytes += 8;
  }

  /** The zeros after a string of `length` bytes. */
  padding(length: number): void {
    const zeros = narPaddingBytes(length);
    this.#reserve(zeros);
    this.#buffer.fill(0, this.#usedBytes, this.#usedBytes + zeros);
    this.#usedBytes += zeros;
  }

  /** What has been gathered; the caller keeps it. */
  take(): Buffer {
    const taken = this.#buffer.subarray(0, this.#usedBytes);
    this.#buffer = Buffer.allocUnsafe(CHUNK_BYTES);
    this.#usedBytes = 0;
    return taken;
  }

  #reserve(bytes: number): void {
    if (this.#usedBytes + bytes <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe((this.#usedBytes + bytes) * 2);
    this.#buffer.copy(larger, 0, 0, this.#usedBytes);
    this.#buffer = larger;
  }
}

const CHUNK_BYTES = 64 * 1024;
// More than one entry takes, so that the buffer is seldom enlarged.
const SLACK_BYTES = 8 * 1024;
