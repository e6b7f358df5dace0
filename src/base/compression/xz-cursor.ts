import { damaged } from './damage.ts';

/** Walks over the bytes of a .xz file; every step beyond their end throws `damage`. */
export class XzCursor {
  readonly #bytes: Uint8Array;
  at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  byte(): number {
    const byte = this.#bytes[this.at];
    if (byte === undefined) throw damaged('xz', 'it is cut short');
    this.at += 1;
    return byte;
  }

  bigEndianShort(): number {
    const high = this.byte();
    return high * 256 + this.byte();
  }

  /** Skipping beyond the end is found by the next read, or by `skip` itself when nothing is read after. */
  skip(bytes: number): void {
    this.at += bytes;
    if (this.at > this.#bytes.length) throw damaged('xz', 'it is cut short');
  }

  /** Streams begin at multiples of four, so that positions in the file and in the stream align alike. */
  align(): void {
    this.skip((4 - (this.at % 4)) % 4);
  }

  /** The next four bytes as a number, undefined when there are fewer. */
  peekWord(): number | undefined {
    const { at } = this;
    const bytes = this.#bytes;
    if (at + 4 > bytes.length) return undefined;
    return (bytes[at] ?? 0) | (bytes[at + 1] ?? 0) | (bytes[at + 2] ?? 0) | (bytes[at + 3] ?? 0);
  }

  /** Seven bits a byte, lowest first, at most nine bytes. */
  variableInteger(): number {
    let value = 0;
    for (let index = 0; index < 9; index += 1) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** (7 * index);
      if (byte < 0x80) return value;
    }
    throw damaged('xz', `a number of more than nine bytes before byte ${this.at}`);
  }
}
