import { randomBytes } from 'node:crypto';
import { mkdir, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { NixferryError } from '../base/errors.ts';
import { readFileIfExists, writeFileAtomic } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import { NixFormatError } from '../nix/format-error.ts';
import {
  formatPublicKey,
  formatSecretKey,
  generateSecretKey,
  type PublicKey,
  parsePublicKey,
  parseSecretKey,
  publicKeyOf,
  type SecretKey,
} from '../nix/signature.ts';
import { privateLayout } from './layout.ts';

/** Where the private state of a mirror lies; a `Mirror` is one. */
export interface MirrorPlace {
  readonly directory: string;
}

export interface SecretKeyFile {
  readonly key: SecretKey;
  /** What the user should be told about the file, such as that others may read it. */
  readonly warnings: readonly string[];
}

// Key names stand before a colon in text files and become file names: what Nix users choose fits, nothing surprising does.
const KEY_NAME = /^[A-Za-z0-9][A-Za-z0-9._+@=-]{0,119}$/;

/** Whether `name` is no more than a name: safe to show, to make a file name of, and to stand in a command. */
export function isKeyName(name: string): boolean {
  return KEY_NAME.test(name);
}

/** Gives the name back, or throws `bad-key`. */
export function checkKeyName(name: string): string {
  if (isKeyName(name)) return name;
  throw new NixferryError('bad-key', `${JSON.stringify(name)} cannot be the name of a key`, {
    hint: 'use letters, digits and . _ + @ = - (at most 120), beginning with a letter or digit, such as carrier-1',
  });
}

/** A name for a new key of this machine: that of the host, and six digits, for it may have several mirrors and Nix knows keys by their names. */
export function defaultKeyName(): string {
  const host = hostname()
    .replaceAll(/[^A-Za-z0-9.-]/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, 100);
  return `${host === '' ? 'nixferry' : host}-${randomBytes(3).toString('hex')}`;
}

/** The mirror's secret key, or undefined when it has none. Throws `bad-key` when the file holds none. */
export async function readSecretKey(place: MirrorPlace): Promise<SecretKeyFile | undefined> {
  const { secretKeyFile } = privateLayout(place.directory);
  const bytes = await readFileIfExists(secretKeyFile, LIMITS.keyFileBytes);
  if (bytes === undefined) return undefined;
  const key = parseKeyFile(secretKeyFile, bytes, parseSecretKey);
  const { mode } = await stat(secretKeyFile);
  const open = (mode & 0o077) !== 0;
  const warnings = open ? [`${secretKeyFile} can be read by others; type: chmod 600 ${secretKeyFile}`] : [];
  return { key, warnings };
}

/** Makes a new secret key and keeps it as the mirror's. Throws `target-occupied` when the mirror has one and `replace` is not set. */
export async function generateMirrorKey(
  place: MirrorPlace,
  name: string,
  options: { readonly replace?: boolean } = {},
): Promise<SecretKey> {
  const key = generateSecretKey(checkKeyName(name));
  await writeSecretKey(place, key, options);
  return key;
}

/** Keeps an existing key (the text of a Nix secret key file) as the mirror's. Throws `bad-key` or `target-occupied`. */
export async function importMirrorKey(
  place: MirrorPlace,
  text: string,
  options: { readonly replace?: boolean } = {},
): Promise<SecretKey> {
  const key = parseKeyFile('the secret key', Buffer.from(text), parseSecretKey);
  checkKeyName(key.name);
  await writeSecretKey(place, key, options);
  return key;
}

/** The mirror's public key, from the file that everybody may read; undefined when the mirror has no key yet. */
export async function readMirrorPublicKey(place: MirrorPlace): Promise<PublicKey | undefined> {
  const { publicKeyFile } = privateLayout(place.directory);
  const bytes = await readFileIfExists(publicKeyFile, LIMITS.keyFileBytes);
  return bytes === undefined ? undefined : parseKeyFile(publicKeyFile, bytes, parsePublicKey);
}

/** Puts the public half beside the secret one again, when it is missing or is another's. */
export async function refreshPublicKeyFile(place: MirrorPlace, key: SecretKey): Promise<PublicKey> {
  const publicKey = publicKeyOf(key);
  const { publicKeyFile } = privateLayout(place.directory);
  const text = `${formatPublicKey(publicKey)}\n`;
  const present = await readFileIfExists(publicKeyFile, LIMITS.keyFileBytes);
  if (present?.toString('utf8') !== text) await writeFileAtomic(publicKeyFile, text);
  return publicKey;
}

/** Parses the one key in a file or text, and says where it stands when it is none. */
export function parseKeyFile<Key>(where: string, bytes: Buffer, parse: (text: string) => Key): Key {
  try {
    return parse(bytes.toString('utf8').trim());
  } catch (error) {
    if (!(error instanceof NixFormatError)) throw error;
    throw new NixferryError('bad-key', `${where} is not a key: ${error.message}`, {
      hint: 'a key is one line, name:base64, as nix-store --generate-binary-cache-key and nixferry keys write it',
      cause: error,
    });
  }
}

async function writeSecretKey(
  place: MirrorPlace,
  key: SecretKey,
  options: { readonly replace?: boolean },
): Promise<void> {
  const { secretKeyFile } = privateLayout(place.directory);
  if (options.replace !== true && (await readFileIfExists(secretKeyFile, LIMITS.keyFileBytes)) !== undefined) {
    throw new NixferryError('target-occupied', `${secretKeyFile} already holds a key`, {
      hint: 'replace it only if you mean to: clients that trust the old key must then be given the new one',
    });
  }
  await mkdir(dirname(secretKeyFile), { recursive: true });
  await writeFileAtomic(secretKeyFile, `${formatSecretKey(key)}\n`, { mode: 0o600 });
  await refreshPublicKeyFile(place, key);
}
