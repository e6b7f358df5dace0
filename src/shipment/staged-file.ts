import type { Mirror } from '../mirror/mirror.ts';
import { hashPartOf, isHashPart, NixFormatError, parseRealisation, parseRealisationPath } from '../nix/index.ts';

/** A small file from a shipment, checked against the inventory. */
export interface StagedFile {
  readonly name: string;
  readonly bytes: Buffer;
}

/** Puts a small file into the mirror, unless it has one of that name, or lacks the path that the file belongs to. */
export async function writeStagedFile(mirror: Mirror, { name, bytes }: StagedFile): Promise<void> {
  if ((await mirror.storage.stat(name)) !== undefined) return;
  if (await hasItsPath(mirror, name, bytes)) await mirror.storage.write(name, bytes);
}

async function hasItsPath(mirror: Mirror, name: string, bytes: Buffer): Promise<boolean> {
  if (name.endsWith('.ls')) {
    const hashPart = name.slice(0, -'.ls'.length);
    return isHashPart(hashPart) && mirror.hasPath(hashPart);
  }
  const key = parseRealisationPath(name);
  if (key === undefined) return true;
  try {
    return await mirror.hasPath(hashPartOf(parseRealisation(bytes, key).outPath));
  } catch (error) {
    if (error instanceof NixFormatError) return false;
    throw error;
  }
}
