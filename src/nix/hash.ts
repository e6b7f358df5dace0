import { hash as hashOnce } from 'node:crypto';
import { base32Length, decodeBase32, encodeBase32, findBase32Problem } from './base32.ts';
import { decodeBase64 } from './base64.ts';
import { NixFormatError, quoteForMessage } from './format-error.ts';

export type HashAlgorithm = 'md5' | 'sha1' | 'sha256' | 'sha512';

declare const hashBrand: unique symbol;
/** A hash in its one canonical spelling, `algorithm:nix32`, so that `===` compares two hashes however they were written. */
export type Hash = string & { readonly [hashBrand]: true };

export type HashEncoding = 'nix32' | 'base16' | 'base64' | 'sri';

export const DIGEST_BYTES: Readonly<Record<HashAlgorithm, number>> = { md5: 16, sha1: 20, sha256: 32, sha512: 64 };

export function isHashAlgorithm(text: string): text is HashAlgorithm {
  return text === 'sha256' || text === 'sha512' || text === 'sha1' || text === 'md5';
}

/**
 * Reads each spelling that Nix reads: `algorithm:` and base16, nix32 or base64 (told apart by length), or SRI
 * (`algorithm-base64`). A bare digest needs `algorithm`; where both are given they must agree. (Nix: `Hash::parseAny`)
 * @throws NixFormatError
 */
export function parseHash(text: string, algorithm?: HashAlgorithm): Hash {
  const separator = findSeparator(text);
  if (separator === -1) {
    if (algorithm === undefined)
      throw new NixFormatError('hash', `${quoteForMessage(text)} does not name its algorithm`);
    return parseDigest(text, algorithm);
  }
  const named = text.slice(0, separator);
  if (!isHashAlgorithm(named)) {
    throw new NixFormatError(
      'hash',
      `unknown algorithm in ${quoteForMessage(text)}; known are md5, sha1, sha256, sha512`,
    );
  }
  if (algorithm !== undefined && algorithm !== named) {
    throw new NixFormatError('hash', `${quoteForMessage(text)} is not a ${algorithm} hash`);
  }
  if (text[separator] === '-') return hashFromDigest(named, decodeBase64(text.slice(separator + 1)));
  // What Nix itself writes is canonical already: checked, then taken as it is.
  if (text.length - separator - 1 === base32Length(DIGEST_BYTES[named])) {
    const problem = findBase32Problem(text, DIGEST_BYTES[named], separator + 1);
    if (problem === undefined) return text as Hash;
    throw new NixFormatError('hash', `${quoteForMessage(text)} is not a ${named} hash in nix32: ${problem.message}`);
  }
  return parseDigest(text.slice(separator + 1), named);
}

/**
 * Writes a hash: `nix32` and `base64` and `base16` with `algorithm:` in front unless `prefix` is false; `sri` always names its
 * algorithm.
 */
export function formatHash(hash: Hash, encoding: HashEncoding, options: { readonly prefix?: boolean } = {}): string {
  const algorithm = hashAlgorithm(hash);
  if (encoding === 'sri') return `${algorithm}-${hashDigest(hash).toString('base64')}`;
  return options.prefix === false ? formatDigest(hash, encoding) : `${algorithm}:${formatDigest(hash, encoding)}`;
}

export function hashDigest(hash: Hash): Buffer {
  return decodeBase32(hash.slice(hash.indexOf(':') + 1));
}

export function hashAlgorithm(hash: Hash): HashAlgorithm {
  return hash.slice(0, hash.indexOf(':')) as HashAlgorithm;
}

/** @throws NixFormatError when `digest` is not as long as the algorithm makes them. */
export function hashFromDigest(algorithm: HashAlgorithm, digest: Uint8Array): Hash {
  if (digest.length !== DIGEST_BYTES[algorithm]) {
    throw new NixFormatError(
      'hash',
      `${digest.length} bytes are not a ${algorithm} digest of ${DIGEST_BYTES[algorithm]}`,
    );
  }
  return `${algorithm}:${encodeBase32(digest)}` as Hash;
}

/** Hashes bytes, or a text as UTF-8. */
export function hashBytes(algorithm: HashAlgorithm, bytes: Uint8Array | string): Hash {
  return `${algorithm}:${encodeBase32(hashOnce(algorithm, bytes, 'buffer'))}` as Hash;
}

// Nix looks for a colon first and only without one for a dash; base64 digits contain neither.
function findSeparator(text: string): number {
  const colon = text.indexOf(':');
  return colon === -1 ? text.indexOf('-') : colon;
}

function parseDigest(text: string, algorithm: HashAlgorithm): Hash {
  const size = DIGEST_BYTES[algorithm];
  if (text.length === size * 2) return hashFromBase16(text, algorithm);
  if (text.length === base32Length(size)) {
    const problem = findBase32Problem(text, size, 0);
    if (problem === undefined) return `${algorithm}:${text}` as Hash;
    throw new NixFormatError(
      'hash',
      `${quoteForMessage(text)} is not a ${algorithm} hash in nix32: ${problem.message}`,
    );
  }
  if (text.length === Math.ceil(size / 3) * 4) return hashFromDigest(algorithm, decodeBase64(text));
  throw new NixFormatError('hash', `${quoteForMessage(text)} has the wrong length for ${algorithm}`);
}

function hashFromBase16(text: string, algorithm: HashAlgorithm): Hash {
  const digest = Buffer.from(text, 'hex');
  // Node stops at the first character that is none of the digits.
  if (digest.length * 2 === text.length) return hashFromDigest(algorithm, digest);
  throw new NixFormatError('hash', `${quoteForMessage(text)} is not hexadecimal`, digest.length * 2);
}

function formatDigest(hash: Hash, encoding: Exclude<HashEncoding, 'sri'>): string {
  if (encoding === 'nix32') return hash.slice(hash.indexOf(':') + 1);
  return hashDigest(hash).toString(encoding === 'base16' ? 'hex' : 'base64');
}
