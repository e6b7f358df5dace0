import { NixFormatError, quoteForMessage } from './format-error.ts';

/** The 32 digits of Nix: no e, o, t, u, and lower case only. */
export const BASE32_ALPHABET = '0123456789abcdfghijklmnpqrsvwxyz';

/** The number of nix32 digits for so many bytes. */
export function base32Length(byteCount: number): number {
  return Math.ceil((byteCount * 8) / 5);
}

/** Nix's base 32 (`nix32`): digits run from the last byte to the first, without padding characters. */
export function encodeBase32(bytes: Uint8Array): string {
  const length = base32Length(bytes.length);
  const text = Buffer.allocUnsafe(length);
  for (let digit = 0; digit < length; digit++) {
    const bit = digit * 5;
    const index = bit >> 3;
    const pair = (bytes[index] ?? 0) | ((bytes[index + 1] ?? 0) << 8);
    text[length - 1 - digit] = DIGIT_CODES[(pair >> (bit & 7)) & 31] ?? 0;
  }
  return text.toString('latin1');
}

/**
 * The bytes of a nix32 text. As in Nix there is one spelling only: a length that no number of bytes has, upper case, and
 * bits beyond the last byte are refused.
 * @throws NixFormatError
 */
export function decodeBase32(text: string): Buffer {
  const problem = findBase32Problem(text, Math.floor((text.length * 5) / 8), 0);
  if (problem !== undefined) throw problem;
  const bytes = Buffer.alloc(Math.floor((text.length * 5) / 8));
  for (let digit = 0; digit < text.length; digit++) {
    const value = digitAt(text, text.length - 1 - digit);
    const bit = digit * 5;
    const index = bit >> 3;
    const shifted = value << (bit & 7);
    bytes[index] = (bytes[index] ?? 0) | (shifted & 0xff);
    if (shifted > 0xff) bytes[index + 1] = (bytes[index + 1] ?? 0) | (shifted >> 8);
  }
  return bytes;
}

/**
 * What keeps `text`, read from offset `start`, from being the nix32 of exactly `byteCount` bytes; undefined when nothing does.
 * It allocates nothing for good text: hashes in narinfos are checked by the hundred thousand.
 */
export function findBase32Problem(text: string, byteCount: number, start: number): NixFormatError | undefined {
  const length = text.length - start;
  if (length !== base32Length(byteCount)) {
    return new NixFormatError('nix32', `${length} digits are no whole number of bytes, or not the right one`);
  }
  for (let position = start; position < text.length; position++) {
    if (digitAt(text, position) > 31) {
      return new NixFormatError('nix32', `${quoteForMessage(text[position] ?? '')} is not a digit`, position);
    }
  }
  const spareBits = length * 5 - byteCount * 8;
  if (length > 0 && digitAt(text, start) >= 32 >> spareBits) {
    return new NixFormatError('nix32', 'the first digit stands for more bits than there are', start);
  }
  return undefined;
}

const NOT_A_DIGIT = 255;
const DIGIT_CODES = Buffer.from(BASE32_ALPHABET, 'latin1');
const DIGIT_VALUES = new Uint8Array(128).fill(NOT_A_DIGIT);
for (const [value, code] of DIGIT_CODES.entries()) DIGIT_VALUES[code] = value;

function digitAt(text: string, position: number): number {
  return DIGIT_VALUES[text.charCodeAt(position)] ?? NOT_A_DIGIT;
}
