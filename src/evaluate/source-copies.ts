import { lstatSync, readdirSync, readFileSync, readlinkSync, type Stats } from 'node:fs';
import { join } from 'node:path';
import { systemErrorCode } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';

/**
 * The folder of which `tree` is a copy, or a copy with something left out (`builtins.path`, `lib.cleanSource`): whoever has that folder makes the
 * copy himself when he evaluates. Undefined when it is none of these.
 */
export function findOriginal(tree: string, folders: Iterable<string>): string | undefined {
  for (const folder of folders) if (isPartOf(tree, folder)) return folder;
  return undefined;
}

/** The folder and those in it, down to LIMITS.sourceFolders of them: an expression may name any. */
export function listFolders(folder: string): string[] {
  const folders = [folder];
  for (const parent of folders) {
    for (const entry of readdirSync(parent, { withFileTypes: true })) {
      if (entry.isDirectory() && folders.length < LIMITS.sourceFolders) folders.push(join(parent, entry.name));
    }
  }
  return folders;
}

/** Whether everything in `copy` is in `original` as well, at the same place. Nothing at all is no copy. */
function isPartOf(copy: string, original: string): boolean {
  const [one, other] = [statusOf(copy), statusOf(original)];
  if (one === undefined || other === undefined || kindOf(one) !== kindOf(other)) return false;
  if (one.isSymbolicLink()) return readlinkSync(copy) === readlinkSync(original);
  if (!one.isDirectory()) return one.size === other.size && readFileSync(copy).equals(readFileSync(original));
  const names = readdirSync(copy);
  return names.length > 0 && names.every((name) => isPartOf(join(copy, name), join(original, name)));
}

function statusOf(path: string): Stats | undefined {
  try {
    return lstatSync(path);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'EACCES'].includes(systemErrorCode(error) ?? '')) return undefined;
    throw error;
  }
}

/** As far as a NAR tells things apart. */
function kindOf(status: Stats): string {
  if (status.isDirectory()) return 'directory';
  if (status.isSymbolicLink()) return 'link';
  return (status.mode & 0o100) === 0 ? 'file' : 'executable';
}
