import { execFile } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';

export interface Needed {
  /** The name on the medium. */
  readonly name: string;
  /** Where it is on this machine. */
  readonly file: string;
}

/** The loader of the system, where the Node that npm brings expects it. */
export const LOADER: string | undefined = ['/lib64/ld-linux-x86-64.so.2', '/lib/ld-linux-aarch64.so.1'].find((file) =>
  existsSync(file),
);

/** Names that hold characters which not every medium allows, and what the file is called there: equally long. */
export const RENAMED: ReadonlyMap<string, string> = new Map([['libstdc++.so.6', 'libstdcxx.so.6']]);

export function missingPrograms(programs: readonly string[]): string[] {
  return programs.filter((program) => findOnPath(program) === undefined);
}

/** The loader, the programs, and every library that they or Node load when they start. */
export async function findLibraries(node: string, programs: readonly string[]): Promise<Needed[]> {
  if (LOADER === undefined) throw new Error('this system has no loader where Node expects it');
  const started = programs.map((name) => ({ name, file: findOnPath(name) ?? '' }));
  const found = new Map<string, string>();
  for (const file of [node, ...started.map((program) => program.file)]) {
    const { stdout } = await promisify(execFile)(LOADER, ['--list', file]);
    for (const [, name, library] of stdout.matchAll(/^\s+(\S+) => (\/\S+) \(/gm)) {
      if (name !== undefined && library !== undefined) found.set(RENAMED.get(name) ?? name, library);
    }
  }
  const libraries = [...found].map(([name, file]) => ({ name, file }));
  return [{ name: 'ld.so', file: LOADER }, ...started, ...libraries].map(({ name, file }) => {
    return { name, file: realpathSync(file) };
  });
}

function findOnPath(program: string): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(':').filter((folder) => path.isAbsolute(folder));
  return folders.map((folder) => path.join(folder, program)).find((file) => existsSync(file));
}
