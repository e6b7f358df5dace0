import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { NixferryError } from '../base/errors.ts';
import { namesIn, readFileIfExists, syncDirectory, writeFileAtomic } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import {
  formatPublicKey,
  formatSecretKey,
  type PublicKey,
  parsePublicKey,
  parseSecretKey,
  publicKeyOf,
  type SecretKey,
} from '../nix/signature.ts';
import {
  checkKeyName,
  generateMirrorKey,
  type MirrorPlace,
  parseKeyFile,
  readMirrorPublicKey,
  readSecretKey,
} from './keys.ts';
import { privateLayout } from './layout.ts';

// A key is changed in three steps, between which clients have all the time that they need: rotate (the new key signs, and the old one
// along with it), give the new one to the clients, retire the old one.

/**
 * Makes a new key the mirror's, and keeps the present one as a former key, which goes on signing beside it. Killed in the middle, the mirror
 * has either its old key alone or both. Throws `bad-key` for a name that the mirror has had, or that is none.
 */
export async function rotateMirrorKey(place: MirrorPlace, name: string): Promise<SecretKey> {
  const present = await readSecretKey(place);
  const taken = [...(await readFormerKeys(place)), ...(present === undefined ? [] : [present.key])];
  if (taken.some((key) => key.name === name)) {
    throw new NixferryError('bad-key', `the mirror has a key named ${name} already`, {
      hint: 'clients know keys by their names: choose another with --name, or leave --name out',
    });
  }
  checkKeyName(name);
  if (present !== undefined) await keepFormerKey(place, present.key);
  return generateMirrorKey(place, name, { replace: true });
}

/** The secret keys that the mirror had before and still signs with, sorted by name. */
export async function readFormerKeys(place: MirrorPlace): Promise<readonly SecretKey[]> {
  const current = await readMirrorPublicKey(place);
  const keys = await readKeyFiles(place, SECRET_SUFFIX, parseSecretKey);
  return keys.filter(({ name }) => name !== current?.name);
}

/** What the mirror signs with: its key, and after it the former ones; empty for a plain binary cache. */
export async function readSigningKeys(place: MirrorPlace): Promise<readonly SecretKey[]> {
  const current = await readSecretKey(place);
  return current === undefined ? [] : [current.key, ...(await readFormerKeys(place))];
}

/** What clients of the mirror may trust: its key, and after it the former ones that still sign; empty for a plain binary cache. */
export async function readValidPublicKeys(place: MirrorPlace): Promise<readonly PublicKey[]> {
  const current = await readMirrorPublicKey(place);
  const former = await readKeyFiles(place, PUBLIC_SUFFIX, parsePublicKey);
  const others = former.filter(({ name }) => name !== current?.name);
  return current === undefined ? others : [current, ...others];
}

/** Removes a former key: it signs nothing more, and what it has signed keeps that. False when there is none of that name. */
export async function retireFormerKey(place: MirrorPlace, name: string): Promise<boolean> {
  const { formerKeysFolder } = privateLayout(place.directory);
  const secretFile = join(formerKeysFolder, `${checkKeyName(name)}${SECRET_SUFFIX}`);
  const known = await readFileIfExists(secretFile, LIMITS.keyFileBytes);
  if (known === undefined) return false;
  await rm(join(formerKeysFolder, `${name}${PUBLIC_SUFFIX}`), { force: true });
  await rm(secretFile);
  await syncDirectory(formerKeysFolder);
  return true;
}

const SECRET_SUFFIX = '.secret';
const PUBLIC_SUFFIX = '.pub';

async function keepFormerKey(place: MirrorPlace, key: SecretKey): Promise<void> {
  const { formerKeysFolder } = privateLayout(place.directory);
  await mkdir(formerKeysFolder, { recursive: true });
  await writeFileAtomic(join(formerKeysFolder, `${key.name}${SECRET_SUFFIX}`), `${formatSecretKey(key)}\n`, {
    mode: 0o600,
  });
  await writeFileAtomic(
    join(formerKeysFolder, `${key.name}${PUBLIC_SUFFIX}`),
    `${formatPublicKey(publicKeyOf(key))}\n`,
  );
}

async function readKeyFiles<Key extends { readonly name: string }>(
  place: MirrorPlace,
  suffix: string,
  parse: (text: string) => Key,
): Promise<Key[]> {
  const { formerKeysFolder } = privateLayout(place.directory);
  const keys: Key[] = [];
  for (const name of await namesIn(formerKeysFolder)) {
    if (!name.endsWith(suffix) || name.startsWith('.')) continue;
    const file = join(formerKeysFolder, name);
    const bytes = await readFileIfExists(file, LIMITS.keyFileBytes);
    if (bytes !== undefined) keys.push(parseKeyFile(file, bytes, parse));
  }
  return keys;
}
