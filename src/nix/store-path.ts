import { hash as hashOnce } from 'node:crypto';
import { encodeBase32, findBase32Problem } from './base32.ts';
import { NixFormatError, quoteForMessage } from './format-error.ts';

declare const storePathBrand: unique symbol;
declare const baseNameBrand: unique symbol;
declare const hashPartBrand: unique symbol;
/** A full store path, `/nix/store/<32 digits>-<name>`; nothing below it. */
export type StorePath = string & { readonly [storePathBrand]: true };
/** A store path without its folder: `<32 digits>-<name>`. */
export type StorePathBaseName = string & { readonly [baseNameBrand]: true };
/** The 32 nix32 digits that begin a base name; a binary cache knows paths by them. */
export type HashPart = string & { readonly [hashPartBrand]: true };

export const DEFAULT_STORE_DIR = '/nix/store';
export const HASH_PART_LENGTH = 32;
/** 255, the longest file name, less the hash part, the dash, and room for suffixes such as `.lock`. (Nix: `MaxPathLen`) */
export const NAME_LENGTH_MAX = 211;

/**
 * Checks a full store path. Nix would first tidy `//` and a slash at the end; nobody writes those in data, so they are refused.
 * @throws NixFormatError
 */
export function parseStorePath(text: string, storeDir: string): StorePath {
  const start = storeDir.length + 1;
  if (!text.startsWith(storeDir) || text.charCodeAt(storeDir.length) !== SLASH) {
    throw new NixFormatError('store path', `${quoteForMessage(text)} is not in ${quoteForMessage(storeDir)}`);
  }
  checkBaseName(text, start);
  return text as StorePath;
}

/** @throws NixFormatError */
export function storePathFromBaseName(baseName: string, storeDir: string): StorePath {
  checkBaseName(baseName, 0);
  return `${storeDir}/${baseName}` as StorePath;
}

/** @throws NixFormatError */
export function parseHashPart(text: string): HashPart {
  if (!isHashPart(text)) {
    throw new NixFormatError('hash part', `${quoteForMessage(text)} is not ${HASH_PART_LENGTH} digits of nix32`);
  }
  return text;
}

export function isHashPart(text: string): text is HashPart {
  return text.length === HASH_PART_LENGTH && findBase32Problem(text, HASH_BYTES, 0) === undefined;
}

export function storeDirOf(path: StorePath): string {
  return path.slice(0, path.lastIndexOf('/'));
}

export function baseNameOf(path: StorePath): StorePathBaseName {
  return path.slice(path.lastIndexOf('/') + 1) as StorePathBaseName;
}

export function hashPartOf(path: StorePath | StorePathBaseName): HashPart {
  const start = path.lastIndexOf('/') + 1;
  return path.slice(start, start + HASH_PART_LENGTH) as HashPart;
}

/** The name behind hash part and dash: `hello-2.12`. */
export function nameOf(path: StorePath | StorePathBaseName): string {
  return path.slice(path.lastIndexOf('/') + 1 + HASH_PART_LENGTH + 1);
}

/**
 * The path that Nix gives to a thing: `type` says what kind it is (and its references), `innerHash` is `sha256:<base16>` of what
 * identifies it. (Nix: `Store::makeStorePath`)
 * @throws NixFormatError when Nix allows no such name.
 */
export function makeStorePath(type: string, innerHash: string, name: string, storeDir: string): StorePath {
  const problem = findNameProblem(name, 0);
  if (problem !== undefined) throw problem;
  const digest = hashOnce('sha256', `${type}:${innerHash}:${storeDir}:${name}`, 'buffer');
  // 256 bits are folded into 160 so that names stay short. (Nix: `compressHash`)
  const folded = Buffer.alloc(HASH_BYTES);
  for (const [index, byte] of digest.entries()) {
    folded[index % HASH_BYTES] = (folded[index % HASH_BYTES] ?? 0) ^ byte;
  }
  return `${storeDir}/${encodeBase32(folded)}-${name}` as StorePath;
}

/** Why Nix allows no store path with this name (read from offset `start`); undefined when it does. (Nix: `checkName`) */
export function findNameProblem(text: string, start: number): NixFormatError | undefined {
  const length = text.length - start;
  if (length <= 0) return nameProblem(text, 'has an empty name', start);
  if (length > NAME_LENGTH_MAX) return nameProblem(text, `has a name longer than ${NAME_LENGTH_MAX} bytes`, start);
  for (let position = start; position < text.length; position++) {
    if (NAME_CHARACTERS[text.charCodeAt(position)] !== 1) {
      return nameProblem(text, `holds ${quoteForMessage(text[position] ?? '')}, which no name may`, position);
    }
  }
  // Nix since 2.20 (2.8 allowed them): a name is never `.` or `..`, nor has it one of them before its first dash.
  if (text.charCodeAt(start) === DOT) {
    const next = start + (text.charCodeAt(start + 1) === DOT ? 2 : 1);
    if (next === text.length || text.charCodeAt(next) === DASH) {
      return nameProblem(text, 'has a name that begins with the component "." or ".."', start);
    }
  }
  return undefined;
}

const HASH_BYTES = 20;
const SLASH = 0x2f;
const DOT = 0x2e;
const DASH = 0x2d;
const NAME_CHARACTERS = new Uint8Array(128);
for (const code of Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-._?=', 'latin1')) {
  NAME_CHARACTERS[code] = 1;
}

function checkBaseName(text: string, start: number): void {
  const nameStart = start + HASH_PART_LENGTH + 1;
  if (!isHashPart(text.slice(start, nameStart - 1)) || text.charCodeAt(nameStart - 1) !== DASH) {
    throw nameProblem(text, `does not begin with ${HASH_PART_LENGTH} digits of nix32 and a dash`, start);
  }
  const problem = findNameProblem(text, nameStart);
  if (problem !== undefined) throw problem;
}

function nameProblem(text: string, problem: string, position: number): NixFormatError {
  return new NixFormatError('store path', `${quoteForMessage(text)} ${problem}`, position);
}
