import { NixferryError } from '../base/errors.ts';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/**
 * Parses JSON that somebody else wrote: UTF-8 without a fault, nested at most `maxDepth` deep. The caller has bounded its length.
 * `what` names it in the `damage` error.
 */
export function parseBoundedJson(bytes: Uint8Array, maxDepth: number, what: string): unknown {
  if (nestingDepth(bytes) > maxDepth)
    throw new NixferryError('damage', `${what} is nested deeper than ${maxDepth} levels`);
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (error) {
    throw new NixferryError('damage', `${what} is not JSON`, { cause: error });
  }
}

// Counted on the bytes, ahead of the parser: what it would build of a few MB of brackets fills the memory.
function nestingDepth(bytes: Uint8Array): number {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let position = 0; position < bytes.length; position++) {
    const byte = bytes[position];
    if (inString) {
      if (byte === BACKSLASH) position++;
      else if (byte === QUOTE) inString = false;
    } else if (byte === QUOTE) {
      inString = true;
    } else if (byte === 0x5b || byte === 0x7b) {
      deepest = Math.max(deepest, ++depth);
    } else if (byte === 0x5d || byte === 0x7d) {
      depth--;
    }
  }
  return deepest;
}
