import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { NixferryError, systemErrorCode } from '../base/errors.ts';
import { readFileIfExists, writeFileAtomic } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import { formatPublicKey, type PublicKey, parsePublicKey } from '../nix/signature.ts';
import { checkKeyName, type MirrorPlace, parseKeyFile } from './keys.ts';
import { privateLayout } from './layout.ts';

/** What a key is trusted for: to vouch for paths (`upstream`), or to send shipments (`sender`). One never implies the other. */
export type KeyPurpose = 'upstream' | 'sender';

const SUFFIX = '.pub';

/**
 * Trusts a key for a purpose. Trusting the same key again changes nothing.
 * Throws `bad-key` when another key of that name is trusted: signatures are matched by name, so only one of the two could ever count.
 */
export async function trustKey(place: MirrorPlace, purpose: KeyPurpose, key: PublicKey): Promise<void> {
  const file = keyFile(place, purpose, key.name);
  const present = await readKey(file);
  if (present !== undefined) {
    if (present.bytes.equals(key.bytes)) return;
    throw new NixferryError('bad-key', `another key named ${key.name} is already trusted (${file})`, {
      hint: `compare the two; if the new one is right, remove ${file} and type the same command again`,
    });
  }
  await mkdir(purposeFolder(place, purpose), { recursive: true });
  await writeFileAtomic(file, `${formatPublicKey(key)}\n`);
}

/** Takes the trust back; false when no key of that name was trusted. */
export async function distrustKey(place: MirrorPlace, purpose: KeyPurpose, name: string): Promise<boolean> {
  const file = keyFile(place, purpose, name);
  if ((await readKey(file)) === undefined) return false;
  await rm(file);
  return true;
}

/** All keys trusted for a purpose, sorted by name. Throws `bad-key` for a file that holds no key, or one of another name than its own. */
export async function readTrustedKeys(place: MirrorPlace, purpose: KeyPurpose): Promise<readonly PublicKey[]> {
  const folder = purposeFolder(place, purpose);
  const keys: PublicKey[] = [];
  for (const name of await listKeyFiles(folder)) {
    const file = join(folder, name);
    const key = await readKey(file);
    if (key === undefined) continue;
    if (`${key.name}${SUFFIX}` !== name) {
      throw new NixferryError('bad-key', `${file} holds the key ${key.name}`, {
        hint: `rename the file to ${key.name}${SUFFIX} if you trust that key, else remove it`,
      });
    }
    keys.push(key);
  }
  return keys;
}

async function listKeyFiles(folder: string): Promise<string[]> {
  try {
    const names = await readdir(folder);
    return names.filter((name) => name.endsWith(SUFFIX) && !name.startsWith('.')).toSorted();
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return [];
    throw error;
  }
}

async function readKey(file: string): Promise<PublicKey | undefined> {
  const bytes = await readFileIfExists(file, LIMITS.keyFileBytes);
  return bytes === undefined ? undefined : parseKeyFile(file, bytes, parsePublicKey);
}

function purposeFolder(place: MirrorPlace, purpose: KeyPurpose): string {
  return join(privateLayout(place.directory).trustedKeysFolder, purpose);
}

function keyFile(place: MirrorPlace, purpose: KeyPurpose, name: string): string {
  return join(purposeFolder(place, purpose), `${checkKeyName(name)}${SUFFIX}`);
}
