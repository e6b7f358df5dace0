/** Bytes that come in pieces and are wanted as one: in memory of the right size from the start where the size is known. */
export class GrowingBytes {
  #memory: Buffer;
  #sizeBytes = 0;

  constructor(expectedBytes: number | undefined) {
    this.#memory = Buffer.allocUnsafeSlow(expectedBytes ?? 64 * 1024);
  }

  /** What is there so far; the view is valid until the next `put`. */
  get bytes(): Buffer {
    return this.#sizeBytes === this.#memory.length ? this.#memory : this.#memory.subarray(0, this.#sizeBytes);
  }

  /** Puts a piece at its position, and forgets whatever stood behind it. */
  put(position: number, piece: Uint8Array): void {
    const end = position + piece.length;
    if (end > this.#memory.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(end, this.#memory.length * 2));
      this.#memory.copy(larger, 0, 0, position);
      this.#memory = larger;
    }
    this.#memory.set(piece, position);
    this.#sizeBytes = end;
  }
}
