import { execFile } from 'node:child_process';
import { readdir, readFile, rename, rm, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { NixferryError } from '../base/errors.ts';
import { makeFolders, makeTempName, writeFileAtomic } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import { ignoreProgress, type OnProgress } from '../base/progress.ts';
import { parseNixVersion } from '../evaluate/nix-age.ts';
import { formatPrivateNix, type PrivateNix, privateProgram, RECORD_FILE, STORE_ROOT } from '../evaluate/private-nix.ts';
import { baseNameOf, type NarInfo, type StorePath, storeDirOf } from '../nix/index.ts';
import { formatRegistrations } from '../store/registration.ts';
import { type PackedClosure, unpackClosure } from '../store/unpack-closure.ts';
import { formatEnterScript, formatProgramScript } from './enter-script.ts';
import { findLoader } from './find-loader.ts';

export interface PlaceNixOptions {
  /** Of the Nix alone. */
  readonly closure: PackedClosure<NarInfo>;
  readonly storePath: StorePath;
  readonly system: string;
  readonly folder: string;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Unpacks a Nix into a folder of its own, starts it there once and makes it known to `readPrivateNix`. May be repeated, also with another Nix:
 * what the earlier one has evaluated stays. Throws `nix-failed` when it does not start; `damage`, `no-space`.
 */
export async function placeNix(options: PlaceNixOptions): Promise<PrivateNix> {
  const { closure, storePath, system, folder, onProgress = ignoreProgress, signal } = options;
  const storeRoot = join(folder, STORE_ROOT);
  const storeFolder = join(storeRoot, storeDirOf(storePath));
  await unpackClosure(closure, { storeFolder, onProgress, signal });
  const paths = closure.paths.map((path) => path.storePath);
  await makeFolders(join(folder, 'stage'));
  await makeFolders(join(folder, 'bin'));
  const loader = findLoader(storeRoot, storePath, paths);
  await writeScript(join(folder, 'enter'), formatEnterScript({ folder, storeRoot, storePath, loader }));
  for (const name of await readdir(join(storeFolder, baseNameOf(storePath), 'bin'))) {
    await writeScript(privateProgram({ folder }, name), formatProgramScript(folder, name));
  }
  const version = parseNixVersion(await start(folder, ['nix', '--version'], '', signal));
  if (version === undefined) {
    throw new NixferryError('nix-failed', `${storePath} does not tell its version`, {
      hint: 'name another Nix, as a store path or as an installable',
    });
  }
  await start(folder, ['nix-store', '--load-db'], formatRegistrations(closure.paths), signal);
  await keepFromGarbage(storeRoot, storePath);
  const nix = { storePath, version, system };
  await writeFileAtomic(join(folder, RECORD_FILE), formatPrivateNix(nix));
  return { folder, ...nix };
}

const SCRIPT_MODE = 0o755;

async function writeScript(file: string, text: string): Promise<void> {
  const before = await readFile(file, 'utf8').catch(() => undefined);
  if (before !== text) await writeFileAtomic(file, text, { mode: SCRIPT_MODE });
}

/** Its own garbage collector must not take it away. */
async function keepFromGarbage(storeRoot: string, storePath: string): Promise<void> {
  const link = join(storeRoot, 'nix/var/nix/gcroots/nixferry');
  const temp = makeTempName(link);
  await makeFolders(dirname(link));
  await symlink(storePath, temp);
  try {
    await rename(temp, link);
  } finally {
    await rm(temp, { force: true });
  }
}

async function start(
  folder: string,
  command: readonly string[],
  input: string,
  signal: AbortSignal | undefined,
): Promise<string> {
  const running = promisify(execFile)(join(folder, 'enter'), [...command], {
    maxBuffer: LIMITS.nixOutputBytes,
    ...(signal === undefined ? {} : { signal }),
  });
  running.child.stdin?.on('error', () => {}); // it may end without reading; its exit code tells
  running.child.stdin?.end(input);
  try {
    return (await running).stdout;
  } catch (error) {
    signal?.throwIfAborted();
    const said = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : String(error);
    throw new NixferryError('nix-failed', `the Nix in ${folder} does not start: ${command.join(' ')}: ${said}`, {
      hint: `try it by hand: ${join(folder, 'enter')} nix --version; without namespaces be root, or install Nix (on Debian and Ubuntu: apt-get install nix-bin)`,
      cause: error,
    });
  }
}
