import { NixFormatError, quoteForMessage } from './format-error.ts';
import { formatHash, type Hash, hashAlgorithm, isHashAlgorithm, parseHash } from './hash.ts';
import { nameOf, type StorePath, storeDirOf } from './store-path.ts';
import { makeFixedOutputPath, makeTextPath } from './store-path-kinds.ts';

/** How contents are hashed: `text` and `flat` a file's bytes, `nar` the whole path as a NAR. */
export type ContentAddressMethod = 'text' | 'flat' | 'nar';

/** What stands in a narinfo's `CA:`. Methods of later Nix (`fixed:git:…`) are kept as text; nothing can be checked by them. */
export type ContentAddress =
  | { readonly method: ContentAddressMethod; readonly hash: Hash }
  | { readonly method: 'unknown'; readonly text: string };

/**
 * Reads `text:sha256:…`, `fixed:…` and `fixed:r:…`; the hash may be base16, nix32 or base64. (Nix: `ContentAddress::parse`)
 * @throws NixFormatError
 */
export function parseContentAddress(text: string): ContentAddress {
  const prefixEnd = text.indexOf(':');
  if (prefixEnd === -1) throw problemIn(text, 'is not of the form method:algorithm:digest');
  const prefix = text.slice(0, prefixEnd);
  const rest = text.slice(prefixEnd + 1);
  if (prefix === 'text') return parseKnown('text', rest, text);
  if (prefix !== 'fixed') return { method: 'unknown', text };
  if (rest.startsWith('r:')) return parseKnown('nar', rest.slice(2), text);
  return parseKnown('flat', rest, text);
}

export function formatContentAddress(address: ContentAddress): string {
  if (address.method === 'unknown') return address.text;
  return PREFIXES[address.method] + formatHash(address.hash, 'nix32');
}

/**
 * The store path that contents with this address get, or undefined where no path can have it: an unknown method, or
 * references that the method does not carry. A path is content-addressed only if this gives the path itself.
 * @param references all references but the one to itself, in any order
 */
export function storePathOf(
  address: ContentAddress,
  name: string,
  references: readonly StorePath[],
  hasSelfReference: boolean,
  storeDir: string,
): StorePath | undefined {
  if (address.method === 'unknown') return undefined;
  if (address.method === 'text') {
    return hasSelfReference ? undefined : makeTextPath(name, address.hash, references, storeDir);
  }
  const carriesReferences = address.method === 'nar' && hashAlgorithm(address.hash) === 'sha256';
  if (!carriesReferences && (references.length > 0 || hasSelfReference)) return undefined;
  return makeFixedOutputPath(address.method, address.hash, name, storeDir, { references, hasSelfReference });
}

/** Whether `path` with these references (itself among them or not) is the one that `address` leads to. */
export function contentAddressNamesPath(
  address: ContentAddress,
  path: StorePath,
  references: readonly StorePath[],
): boolean {
  const others = references.filter((reference) => reference !== path);
  const hasSelfReference = others.length !== references.length;
  return storePathOf(address, nameOf(path), others, hasSelfReference, storeDirOf(path)) === path;
}

const PREFIXES: Readonly<Record<ContentAddressMethod, string>> = { text: 'text:', flat: 'fixed:', nar: 'fixed:r:' };

function parseKnown(method: ContentAddressMethod, hashText: string, whole: string): ContentAddress {
  const colon = hashText.indexOf(':');
  if (colon === -1) throw problemIn(whole, 'is not of the form method:algorithm:digest');
  const algorithm = hashText.slice(0, colon);
  // `fixed:git:sha1:…` and algorithms yet to come: real, but not ours to check.
  if (!isHashAlgorithm(algorithm)) return { method: 'unknown', text: whole };
  if (method === 'text' && algorithm !== 'sha256')
    throw problemIn(whole, 'is a text address, and those use sha256 only');
  return { method, hash: parseHash(hashText.slice(colon + 1), algorithm) };
}

function problemIn(text: string, problem: string): NixFormatError {
  return new NixFormatError('content address', `${quoteForMessage(text)} ${problem}`);
}
