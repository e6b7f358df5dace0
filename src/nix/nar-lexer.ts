import { narError, narPaddingBytes } from './nar-format.ts';

/** Returned for a number or letter that the bytes at hand do not hold whole. */
export const INCOMPLETE = -1;

/**
 * The bytes of a NAR, chunk after chunk, for a reader that understands them in steps. Each method either takes a whole word or value, or
 * leaves everything in place and says that more bytes are needed.
 */
export class NarLexer {
  #bytes: Uint8Array = EMPTY;
  #at = 0;
  /** Offset in the NAR of the first of `#bytes`. */
  #origin = 0;
  /** Bytes of a word or value that the last chunk did not finish. */
  #carry: Uint8Array = EMPTY;

  /** Offset in the NAR of the next byte to be understood. */
  get position(): number {
    return this.#origin + this.#at;
  }

  /** Calls `step` until the chunk is used up or `step` says, by false, that it needs more. Keeps a copy of what is left. */
  feed(chunk: Uint8Array, step: () => boolean): void {
    const start = this.#carry.length === 0 ? 0 : this.#feedCarry(chunk, step);
    const stop = this.#run(chunk, start, step);
    if (stop < chunk.length) this.#carry = Buffer.from(chunk.subarray(stop));
    this.#bytes = EMPTY;
    this.#origin += this.#at;
    this.#at = 0;
  }

  /** Passes over `word`, which must come next. */
  word(word: Uint8Array): boolean {
    const bytes = this.#bytes;
    const at = this.#at;
    const comparable = Math.min(word.length, bytes.length - at);
    for (let index = 0; index < comparable; index += 1) {
      if (bytes[at + index] !== word[index]) throw narError(`expected ${wordText(word)}`, this.position);
    }
    if (comparable < word.length) return false;
    this.#at = at + word.length;
    return true;
  }

  /** The first letter of the next string: where the grammar leaves a choice, it tells the words apart. */
  peekLetter(): number {
    return this.#bytes[this.#at + 8] ?? INCOMPLETE;
  }

  /** Takes a length. Refuses what does not fit a double exactly. */
  length(): number {
    const length = this.#peekLength();
    if (length !== INCOMPLETE) this.#at += 8;
    return length;
  }

  /** Takes a string of at most `maxBytes`, and gives a view of it. */
  string(maxBytes: number, what: string): Uint8Array | undefined {
    const length = this.#peekLength();
    if (length === INCOMPLETE) return undefined;
    if (length > maxBytes) throw narError(`a ${what} of ${length} bytes, more than ${maxBytes}`, this.position);
    const start = this.#at + 8;
    this.#at = start + length;
    if (this.padding(length)) return this.#bytes.subarray(start, start + length);
    this.#at = start - 8;
    return undefined;
  }

  /** Passes over the zeros that follow a string of `length` bytes. */
  padding(length: number): boolean {
    const bytes = this.#bytes;
    const end = this.#at + narPaddingBytes(length);
    if (end > bytes.length) return false;
    for (let index = this.#at; index < end; index += 1) {
      if (bytes[index] !== 0) throw narError('padding that is not zero', this.#origin + index);
    }
    this.#at = end;
    return true;
  }

  /** Takes what is at hand, at most `maxBytes`: a view, and at least one byte. */
  piece(maxBytes: number): Uint8Array {
    const start = this.#at;
    this.#at = Math.min(start + maxBytes, this.#bytes.length);
    return this.#bytes.subarray(start, this.#at);
  }

  /** Adds a little of the chunk at a time to the carry until what was cut is whole; returns where in the chunk to go on. */
  #feedCarry(chunk: Uint8Array, step: () => boolean): number {
    for (let fedBytes = 0; fedBytes < chunk.length; ) {
      const before = this.#carry;
      const addition = chunk.subarray(fedBytes, fedBytes + CARRY_STEP_BYTES);
      const stop = this.#run(Buffer.concat([before, addition]), 0, step);
      if (stop >= before.length) {
        this.#carry = EMPTY;
        return fedBytes + stop - before.length;
      }
      this.#carry = this.#bytes.subarray(stop);
      fedBytes += addition.length;
    }
    return chunk.length;
  }

  #run(bytes: Uint8Array, start: number, step: () => boolean): number {
    this.#origin = this.position - start;
    this.#bytes = bytes;
    this.#at = start;
    while (this.#at < bytes.length && step());
    return this.#at;
  }

  #peekLength(): number {
    const bytes = this.#bytes;
    const at = this.#at;
    if (at + 8 > bytes.length) return INCOMPLETE;
    const high = littleEndianWord(bytes, at + 4);
    if (high > MAX_HIGH_WORD) throw narError('a length of 2^53 bytes or more', this.position);
    return high * 2 ** 32 + littleEndianWord(bytes, at);
  }
}

const EMPTY = new Uint8Array(0);
const CARRY_STEP_BYTES = 64;
const MAX_HIGH_WORD = 0x1fffff;

function littleEndianWord(bytes: Uint8Array, at: number): number {
  const high = (bytes[at + 3] ?? 0) * 2 ** 24;
  return high + (((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at] ?? 0));
}

/** The strings of a word, for a message. */
function wordText(word: Uint8Array): string {
  const texts: string[] = [];
  for (let at = 0; at < word.length; ) {
    const length = littleEndianWord(word, at);
    texts.push(`"${Buffer.from(word.subarray(at + 8, at + 8 + length)).toString('latin1')}"`);
    at += 8 + length + narPaddingBytes(length);
  }
  return texts.join(' ');
}
