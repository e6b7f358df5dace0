import { existsSync, realpathSync } from 'node:fs';
import path from 'node:path';
import { neededLibraries } from './needed-libraries.ts';

export interface Needed {
  /** The name on the medium. */
  readonly name: string;
  /** Where it is on this machine. */
  readonly file: string;
}

/** A Linux with glibc whose files are taken: this one, or one of another kind of machine that lies unpacked in a folder. */
export interface System {
  /** Empty for this one. */
  readonly root: string;
  readonly machine: Machine;
}

export type Machine = keyof typeof MACHINES;

/** What is to be known of each kind of machine, by Node's word for it. */
const MACHINES = {
  x64: { loader: 'ld-linux-x86-64.so.2', folders: ['lib/x86_64-linux-gnu', 'lib64', 'lib'] },
  arm64: { loader: 'ld-linux-aarch64.so.1', folders: ['lib/aarch64-linux-gnu', 'lib64', 'lib'] },
} as const;

/** Names that hold characters which not every medium allows, and what the file is called there: equally long. */
export const RENAMED: ReadonlyMap<string, string> = new Map([['libstdc++.so.6', 'libstdcxx.so.6']]);

export function isMachine(text: string): text is Machine {
  return Object.hasOwn(MACHINES, text);
}

/** The loader, the programs, and every library that they, Node or the addon load. Throws when one of them is not there. */
export async function findLibraries(
  system: System,
  programs: readonly string[],
  more: readonly string[],
): Promise<Needed[]> {
  const { loader } = MACHINES[system.machine];
  const started = programs.map((name) => ({ name, file: find(system, ['bin'], name) }));
  const libraries = new Map<string, string>();
  const queue = [...more, ...started.map(({ file }) => file)];
  for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
    for (const name of await neededLibraries(file)) {
      if (name === loader || libraries.has(name)) continue;
      const library = findLibrary(system, name);
      libraries.set(name, library);
      queue.push(library);
    }
  }
  return [
    { name: 'ld.so', file: findLibrary(system, loader) },
    ...started,
    ...[...libraries].map(([name, file]) => ({ name: RENAMED.get(name) ?? name, file })),
  ];
}

function findLibrary(system: System, name: string): string {
  return find(system, MACHINES[system.machine].folders, name);
}

function find({ root }: System, folders: readonly string[], name: string): string {
  const candidates = folders
    .flatMap((folder) => [`/usr/${folder}`, `/${folder}`])
    .map((folder) => `${root}${folder}/${name}`);
  const file = candidates.find((candidate) => existsSync(candidate));
  if (file !== undefined) return realpathSync(file);
  throw new Error(`${path.join(root || '/', 'usr', folders[0] ?? '', name)} is not there`);
}
