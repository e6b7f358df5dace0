import { NixFormatError } from '../nix/format-error.ts';
import { type Hash, isHashAlgorithm, parseHash } from '../nix/hash.ts';

/**
 * The hash that a client asks a hashed mirror for, whatever the spelling; undefined for what is none. `builtin:fetchurl` writes `sha256/<base16>`, the fetchurl
 * of nixpkgs `<outputHashAlgo>/<outputHash>` as both stand in the expression: base16, nix32 or base64, or SRI, and then often without an
 * algorithm (`/sha256-<base64>`). Neither escapes the `+`, `/` and `=` of base64, proxies may.
 * @param address what follows the base address and one slash; may begin with another one.
 */
export function parseHashedAddress(address: string): Hash | undefined {
  const text = unescape(address.replace(/[?#].*$/s, ''))?.replace(/^\//, '');
  if (text === undefined) return undefined;
  const slash = text.indexOf('/');
  const folder = text.slice(0, slash);
  // An SRI hash may have slashes of its own.
  return slash > 0 && isHashAlgorithm(folder) ? parse(text.slice(slash + 1), folder) : parse(text, undefined);
}

function parse(text: string, algorithm: Parameters<typeof parseHash>[1]): Hash | undefined {
  try {
    return parseHash(text, algorithm);
  } catch (error) {
    if (error instanceof NixFormatError) return undefined;
    throw error;
  }
}

function unescape(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    if (error instanceof URIError) return undefined;
    throw error;
  }
}
