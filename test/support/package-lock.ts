// What package-lock.json says about packages for other platforms. `npm ci` refuses a lock file that leaves one out, and npm
// leaves out what the registry did not show it when the file was written.

import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { repositoryRoot } from './nixferry.ts';

export interface LockedPackage {
  readonly version?: string;
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly os?: readonly string[];
  readonly cpu?: readonly string[];
  readonly libc?: readonly string[];
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

export interface PackageLock {
  readonly lockfileVersion: number;
  readonly packages: Readonly<Record<string, LockedPackage>>;
}

export interface LeftOut {
  readonly name: string;
  /** Exact: tools name the versions of their platform packages so. */
  readonly version: string;
  readonly dev: boolean;
}

const LOCK_FILE = path.join(repositoryRoot, 'package-lock.json');
const SYSTEMS = new Set(['android', 'darwin', 'freebsd', 'linux', 'openharmony', 'win32']);
const PROCESSORS = new Set(['arm', 'arm64', 'ia32', 'ppc64', 'riscv64', 's390x', 'wasm32', 'x64']);

export async function readPackageLock(): Promise<PackageLock> {
  return JSON.parse(await readFile(LOCK_FILE, 'utf8')) as PackageLock;
}

export async function writePackageLock(lock: PackageLock): Promise<void> {
  await writeFile(LOCK_FILE, `${JSON.stringify(lock, undefined, 2)}\n`);
}

/** Optional dependencies of locked packages that the lock file itself does not hold. */
export function leftOutOf({ packages }: PackageLock): LeftOut[] {
  return Object.entries(packages).flatMap(([folder, { optionalDependencies = {}, dev = false }]) =>
    Object.entries(optionalDependencies)
      .filter(([name]) => !isLocked(packages, folder, name))
      .map(([name, version]) => ({ name, version, dev })),
  );
}

/** The lock file with what was left out; systems and processors are read from the names, as `…-linux-x64-musl`. */
export function withLeftOut(lock: PackageLock, leftOut: readonly LeftOut[]): PackageLock {
  const added = leftOut.map(({ name, version, dev }): [string, LockedPackage] => {
    const words = name.slice(name.lastIndexOf('/') + 1).split('-');
    const cpu = words.filter((word) => PROCESSORS.has(word));
    const os = words.filter((word) => SYSTEMS.has(word));
    if (cpu.length === 0) throw new Error(`the name of ${name} does not say for which processor it is`);
    const libc = words.some((word) => word.startsWith('musl'))
      ? ['musl']
      : words.some((word) => word.startsWith('gnu'))
        ? ['glibc']
        : undefined;
    return [
      `node_modules/${name}`,
      {
        version,
        cpu,
        ...(dev ? { dev } : {}),
        ...(libc === undefined ? {} : { libc }),
        optional: true,
        ...(os.length === 0 ? {} : { os }),
      },
    ];
  });
  const sorted = Object.entries({ ...lock.packages, ...Object.fromEntries(added) }).toSorted(([a], [b]) =>
    a.localeCompare(b, 'en'),
  );
  return { ...lock, packages: Object.fromEntries(sorted) };
}

/** Node's way of looking: in the package's own node_modules, then in every one above. */
function isLocked(packages: PackageLock['packages'], folder: string, name: string): boolean {
  if (packages[`${folder === '' ? '' : `${folder}/`}node_modules/${name}`] !== undefined) return true;
  if (folder === '') return false;
  return isLocked(packages, folder.slice(0, Math.max(0, folder.lastIndexOf('/node_modules/'))), name);
}
