import { dirname, join, resolve } from 'node:path';
import { isSea } from 'node:sea';

/** How to start a program: on a system's own, or through the loader that lies beside it on the medium. */
export interface ProgramStart {
  readonly file: string;
  /** Before the program's own arguments. */
  readonly args: readonly string[];
}

/**
 * The folder `tools/<machine>` that this process was started from, when it is the program that travels on the medium; undefined in an
 * installation. Beside the program lie the loader, the libraries, `xz` and `bzip2` (docs/format.md).
 */
export function carriedToolsFolder(): string | undefined {
  return isSea() ? STARTED_IN : undefined;
}

/** Starts a program of that folder by the loader there: the system may have none, or one that is too old. */
export function carriedStart(folder: string, name: string): ProgramStart {
  return {
    file: join(folder, 'ld.so'),
    args: ['--inhibit-cache', '--library-path', folder, join(folder, name)],
  };
}

// Only argv0 names the program: for the kernel, and hence in execPath, the loader is what was started.
const STARTED_IN = dirname(resolve(process.argv0));
