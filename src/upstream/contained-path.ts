import { realpath } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { systemErrorCode } from '../base/errors.ts';

/** Whether `name` is a plain relative path: no `.` or `..`, nothing absolute, no backslash, no control character. */
export function isSafeName(name: string): boolean {
  if (name.length > NAME_LENGTH_MAX || /[\u0000-\u001f\u007f\\]/.test(name)) return false;
  return name.split('/').every((part) => part !== '' && part !== '.' && part !== '..');
}

/**
 * The real path of a file below `root` (itself a real path); undefined when there is none. Throws a RangeError when the
 * name, or a link on its way, leads out of the folder: a medium is somebody else's, and must not make us read our own files.
 */
export async function containedPath(root: string, name: string): Promise<string | undefined> {
  if (!isSafeName(name)) throw new RangeError('leads out of its folder');
  let path: string;
  try {
    path = await realpath(join(root, name));
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ENAMETOOLONG') return undefined;
    throw error;
  }
  if (!path.startsWith(root.endsWith(sep) ? root : `${root}${sep}`)) throw new RangeError('leads out of its folder');
  return path;
}

const NAME_LENGTH_MAX = 1024;
