import { NixFormatError, quoteForMessage } from './format-error.ts';

/**
 * The bytes of a base64 text, as Nix reads it: the standard alphabet, with or without `=` at the end, and bits beyond the
 * last whole byte ignored. Unlike Nix, nothing may follow the `=`, and line breaks inside are refused: nobody writes them.
 * @throws NixFormatError
 */
export function decodeBase64(text: string): Buffer {
  let end = text.length;
  while (end > 0 && end > text.length - 2 && text.charCodeAt(end - 1) === EQUALS_SIGN) end--;
  for (let position = 0; position < end; position++) {
    if (IS_DIGIT[text.charCodeAt(position)] !== 1) {
      throw new NixFormatError('base64', `${quoteForMessage(text[position] ?? '')} is not a digit`, position);
    }
  }
  if (end % 4 === 1) throw new NixFormatError('base64', 'the text is cut off', end);
  return Buffer.from(text.slice(0, end), 'base64');
}

const EQUALS_SIGN = 0x3d;
const IS_DIGIT = new Uint8Array(128);
for (const code of Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/', 'latin1')) {
  IS_DIGIT[code] = 1;
}
