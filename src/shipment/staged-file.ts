import type { Mirror } from '../mirror/mirror.ts';
import { hashPartOf, isHashPart, NixFormatError, parseRealisation, parseRealisationPath } from '../nix/index.ts';
import type { FileKey } from './waiting-files.ts';

/** A small file from a shipment, checked against the inventory. */
export interface StagedFile extends FileKey {
  readonly bytes: Buffer;
}

/**
 * Puts a small file into the mirror, unless it has one of that name, which then stays. `waits`: the mirror lacks the path that the file belongs to.
 * `useless`: no Nix could read it.
 */
export async function writeStagedFile(
  mirror: Mirror,
  { name, bytes }: StagedFile,
): Promise<'there' | 'waits' | 'useless'> {
  if ((await mirror.storage.stat(name)) !== undefined) return 'there';
  const verdict = await findItsPath(mirror, name, bytes);
  if (verdict === 'there') await mirror.storage.write(name, bytes);
  return verdict;
}

async function findItsPath(mirror: Mirror, name: string, bytes: Buffer): Promise<'there' | 'waits' | 'useless'> {
  if (name.endsWith('.ls')) {
    const hashPart = name.slice(0, -'.ls'.length);
    if (!isHashPart(hashPart)) return 'useless';
    return (await mirror.hasPath(hashPart)) ? 'there' : 'waits';
  }
  const key = parseRealisationPath(name);
  if (key === undefined) return 'there';
  try {
    return (await mirror.hasPath(hashPartOf(parseRealisation(bytes, key).outPath))) ? 'there' : 'waits';
  } catch (error) {
    if (error instanceof NixFormatError) return 'useless';
    throw error;
  }
}
