import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, isAbsolute, join } from 'node:path';

/**
 * The full path of a program on the PATH, or undefined. Relative and empty PATH entries are passed over: the working folder may be a
 * medium that somebody else wrote, and must not supply programs.
 */
export function findProgram(name: string, searchPath = process.env['PATH'] ?? ''): string | undefined {
  const key = `${name}\0${searchPath}`;
  const known = found.get(key);
  if (known !== undefined) return known;
  const file = search(name, searchPath);
  if (file !== undefined) found.set(key, file);
  return file;
}

// Asked for every NAR. What is not there is looked for again: it may be installed meanwhile.
const found = new Map<string, string>();

function search(name: string, searchPath: string): string | undefined {
  for (const folder of searchPath.split(delimiter)) {
    if (!isAbsolute(folder)) continue;
    const candidate = join(folder, name);
    if (isExecutableFile(candidate)) return candidate;
  }
  return undefined;
}

function isExecutableFile(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    // Whatever the reason, this is not a program that can be started.
    return false;
  }
}
