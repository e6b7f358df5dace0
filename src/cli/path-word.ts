import { realpath } from 'node:fs/promises';
import { NixferryError } from '../base/errors.ts';
import { DEFAULT_STORE_DIR, type HashPart, hashPartOf, isHashPart, storePathFromBaseName } from '../nix/index.ts';
import { isStoreBaseName } from '../serve/store-base-name.ts';

/** The hash part where the argument is one, or names a store path (whole, below one, by its base name, or as a link); undefined for a folder. */
export async function hashPartIn(text: string): Promise<HashPart | undefined> {
  if (isHashPart(text)) return text;
  if (!text.includes('/') && isStoreBaseName(text)) return hashPartOf(storePathFromBaseName(text, DEFAULT_STORE_DIR));
  return baseNameIn(text) ?? baseNameIn(await realpath(text).catch(() => text));
}

export function noStorePath(text: string): NixferryError {
  return new NixferryError('usage', `${JSON.stringify(text)} is no store path, nor a link to one`, {
    hint: 'write /nix/store/…, the 32 digits of it, or a link such as ./result',
  });
}

/** Of `/…/store/<32 digits>-<name>/…`: a shipment in such a folder has to be copied out first. */
function baseNameIn(text: string): HashPart | undefined {
  if (!text.startsWith('/')) return undefined;
  const [, baseName = ''] = /^(?:\/[^/]+)*?\/([0-9a-z]{32}-[^/]+)(?:\/|$)/.exec(text) ?? [];
  return isStoreBaseName(baseName) ? hashPartOf(storePathFromBaseName(baseName, DEFAULT_STORE_DIR)) : undefined;
}
