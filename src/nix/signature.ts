import { createPrivateKey, createPublicKey, type KeyObject, randomBytes, sign, verify } from 'node:crypto';
import { decodeBase64 } from './base64.ts';
import { NixFormatError, quoteForMessage } from './format-error.ts';
import { type NarInfo, narInfoFingerprint } from './narinfo.ts';

/** An ed25519 key that signatures are checked with; written `name:base64(32 bytes)`. */
export interface PublicKey {
  readonly name: string;
  readonly bytes: Buffer;
}

/** An ed25519 key that signs; written `name:base64(seed of 32 bytes, then the public key)`. */
export interface SecretKey {
  readonly name: string;
  /** Named unlike the public key's, so that one is never taken for the other. */
  readonly secretBytes: Buffer;
}

/** Reads a public key; white space around it is dropped. @throws NixFormatError */
export function parsePublicKey(text: string): PublicKey {
  return splitNamed('public key', text.trim(), PUBLIC_KEY_BYTES);
}

/** Reads a secret key as in Nix's key files; white space around it is dropped. Messages never show it. @throws NixFormatError */
export function parseSecretKey(text: string): SecretKey {
  const { name, bytes } = splitNamed('secret key', text.trim(), SECRET_KEY_BYTES);
  const key = secretKeyFromSeed(name, bytes.subarray(0, SEED_BYTES));
  if (key.secretBytes.equals(bytes)) return key;
  throw new NixFormatError('secret key', 'its public half does not belong to its secret half');
}

export function formatPublicKey(key: PublicKey): string {
  return `${key.name}:${key.bytes.toString('base64')}`;
}

export function formatSecretKey(key: SecretKey): string {
  return `${key.name}:${key.secretBytes.toString('base64')}`;
}

/**
 * A new secret key. The same 32 bytes of `randomSeed` give the same key.
 * @throws NixFormatError when the name is empty, or holds a colon, white space or anything but visible ASCII.
 */
export function generateSecretKey(name: string, randomSeed: Uint8Array = randomBytes(SEED_BYTES)): SecretKey {
  if (!isKeyName(name)) throw new NixFormatError('secret key', `${quoteForMessage(name)} cannot be the name of a key`);
  if (randomSeed.length !== SEED_BYTES) throw new NixFormatError('secret key', `a seed has ${SEED_BYTES} bytes`);
  return secretKeyFromSeed(name, randomSeed);
}

export function publicKeyOf(secret: SecretKey): PublicKey {
  return { name: secret.name, bytes: Buffer.from(secret.secretBytes.subarray(SEED_BYTES)) };
}

/** Signs a message (a text as UTF-8): `name:base64`. */
export function signText(secret: SecretKey, message: string | Uint8Array): string {
  const signature = sign(
    null,
    toBytes(message),
    keyObjectOf(secret, () => importSeed(secret.secretBytes)),
  );
  return `${secret.name}:${signature.toString('base64')}`;
}

/** Whether one of `keys` has the signature's name and made it over exactly this message. Malformed ones are simply false. */
export function verifySignature(signature: string, message: string | Uint8Array, keys: readonly PublicKey[]): boolean {
  const colon = signature.indexOf(':');
  if (colon <= 0) return false;
  let bytes: Buffer | undefined;
  for (const key of keys) {
    if (key.name.length !== colon || !signature.startsWith(key.name)) continue;
    bytes ??= signatureBytes(signature, colon);
    if (bytes === undefined) return false;
    if (
      verify(
        null,
        toBytes(message),
        keyObjectOf(key, () => importPublicKey(key.bytes)),
        bytes,
      )
    )
      return true;
  }
  return false;
}

/** Whether this is `name:base64` of 64 bytes. A narinfo with a signature that is not cannot be read by Nix since 2.34. */
export function isWellFormedSignature(signature: string): boolean {
  const colon = signature.indexOf(':');
  return isKeyName(signature.slice(0, Math.max(colon, 0))) && signatureBytes(signature, colon) !== undefined;
}

/**
 * The narinfo with our signature beside all that it has, sorted as Nix sorts them. Signatures by another key of the same name
 * are dropped, since clients could only take them for forged ones, and so are malformed ones, since newer Nix reads no
 * narinfo that has them.
 */
export function signNarInfo(info: NarInfo, secret: SecretKey): NarInfo {
  const ours = signText(secret, narInfoFingerprint(info));
  const others = info.signatures.filter((signature) => {
    return isWellFormedSignature(signature) && !signature.startsWith(`${secret.name}:`);
  });
  return { ...info, signatures: [...new Set([...others, ours])].sort() };
}

/** The first signature that one of `keys` made over this narinfo. */
export function trustedSignature(info: NarInfo, keys: readonly PublicKey[]): string | undefined {
  if (info.signatures.length === 0 || keys.length === 0) return undefined;
  const fingerprint = Buffer.from(narInfoFingerprint(info));
  return info.signatures.find((signature) => verifySignature(signature, fingerprint, keys));
}

const SEED_BYTES = 32;
const PUBLIC_KEY_BYTES = 32;
const SECRET_KEY_BYTES = 64;
const SIGNATURE_BYTES = 64;
// The fixed beginnings of an ed25519 key in PKCS #8 and SubjectPublicKeyInfo (RFC 8410); the raw key follows.
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');

// Importing a key costs as much as a verification, and a mirror verifies by the hundred thousand with a handful of keys.
const keyObjects = new WeakMap<PublicKey | SecretKey, KeyObject>();

function keyObjectOf(key: PublicKey | SecretKey, importKey: () => KeyObject): KeyObject {
  let object = keyObjects.get(key);
  if (object === undefined) {
    object = importKey();
    keyObjects.set(key, object);
  }
  return object;
}

function importPublicKey(bytes: Buffer): KeyObject {
  return createPublicKey({ key: Buffer.concat([SPKI_PREFIX, bytes]), format: 'der', type: 'spki' });
}

function importSeed(bytes: Uint8Array): KeyObject {
  const seed = bytes.subarray(0, SEED_BYTES);
  return createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, seed]), format: 'der', type: 'pkcs8' });
}

function secretKeyFromSeed(name: string, seed: Uint8Array): SecretKey {
  const spki = createPublicKey(importSeed(seed)).export({ format: 'der', type: 'spki' });
  return { name, secretBytes: Buffer.concat([seed, spki.subarray(SPKI_PREFIX.length)]) };
}

function splitNamed(format: string, text: string, byteCount: number): { name: string; bytes: Buffer } {
  const colon = text.indexOf(':');
  const name = text.slice(0, Math.max(colon, 0));
  if (!isKeyName(name)) throw new NixFormatError(format, 'it is not of the form name:base64');
  const bytes = decodeBase64(text.slice(colon + 1));
  if (bytes.length !== byteCount) {
    throw new NixFormatError(format, `it has ${bytes.length} bytes after its name instead of ${byteCount}`);
  }
  return { name, bytes };
}

// Nix forbids only the colon; white space cannot stand in nix.conf, and the rest has no place on a signature's line.
function isKeyName(name: string): boolean {
  return /^[!-9;-~]+$/.test(name);
}

function signatureBytes(signature: string, colon: number): Buffer | undefined {
  // 64 bytes are 86 digits and two `=`, which Nix does not insist on.
  const length = signature.length - colon - 1;
  if (length < 86 || length > 88) return undefined;
  try {
    const bytes = decodeBase64(signature.slice(colon + 1));
    return bytes.length === SIGNATURE_BYTES ? bytes : undefined;
  } catch (error) {
    if (error instanceof NixFormatError) return undefined;
    throw error;
  }
}

function toBytes(message: string | Uint8Array): Uint8Array {
  return typeof message === 'string' ? Buffer.from(message) : message;
}
