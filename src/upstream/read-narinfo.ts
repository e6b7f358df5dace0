import { NixferryError } from '../base/errors.ts';
import { type HashPart, hashPartOf, type NarInfo, NixFormatError, parseNarInfo } from '../nix/index.ts';

/**
 * Reads what a cache gave as the narinfo of `hashPart`. Throws `upstream-incomplete` when it is malformed, or speaks of
 * another path, by which a cache could pass off one path as another.
 */
export function readNarInfo(bytes: Uint8Array, hashPart: HashPart, storeDir: string, shownUrl: string): NarInfo {
  let info: NarInfo;
  try {
    info = parseNarInfo(bytes, storeDir);
  } catch (error) {
    if (!(error instanceof NixFormatError)) throw error;
    throw unusable(`${shownUrl}: ${error.message}`, error);
  }
  if (hashPartOf(info.storePath) === hashPart) return info;
  throw unusable(`${shownUrl}: speaks of another path, ${info.storePath}`);
}

function unusable(message: string, cause?: unknown): NixferryError {
  return new NixferryError('upstream-incomplete', message, {
    hint: 'tell who runs this cache, or put another upstream that has the path before it',
    cause,
  });
}
