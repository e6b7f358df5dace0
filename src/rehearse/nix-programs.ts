import { existsSync, statSync } from 'node:fs';
import { readdir, realpath } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { NixferryError } from '../base/errors.ts';
import { findProgram } from '../base/find-program.ts';
import { runNix } from '../evaluate/nix-command.ts';
import { type PrivateNix, readPrivateNix, STORE_ROOT } from '../evaluate/private-nix.ts';
import { inOwnStore, type OwnPaths } from './own-store.ts';
import type { RoomBind } from './room-script.ts';

/** The programs that a room needs, and what must be visible there for them to run. */
export interface RoomPrograms {
  /** As they are called in the room. */
  readonly nix: string;
  readonly umount: string;
  readonly innerUnshare: string;
  /** What the room's /bin/sh leads to; undefined where /bin of this machine is shown. */
  readonly shell: string | undefined;
  readonly binds: readonly RoomBind[];
  /** Those of them that live in a store: to be copied into the room, for the room's store is empty. */
  readonly own: readonly OwnPaths[];
  /** On this side: what makes and enters namespaces. */
  readonly unshare: string;
  readonly nsenter: string;
  /** The folders in which the script finds mount, pivot_root and the like. */
  readonly searchPath: string;
}

/** Where a Linux keeps its programs and libraries, outside of a store. */
const SYSTEM_FOLDERS = ['/usr', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32'];
/** What programs from there look up. */
const SYSTEM_FILES = ['/etc/ld.so.cache', '/etc/alternatives'];

/**
 * Finds what a room needs.
 * @param chosen a Nix other than the one on the PATH: the program, or the folder that `nixferry get-nix` made
 * @throws NixferryError `nix-not-found`; `program-missing` without util-linux.
 */
export async function findRoomPrograms(
  chosen: string | undefined,
  storeDir: string,
  signal: AbortSignal,
): Promise<RoomPrograms> {
  const unshare = findTool('unshare');
  const nsenter = findTool('nsenter');
  // Beside the true unshare: what stands first on a NixOS PATH are set-uid wrappers, which do not work in a namespace.
  const trueUnshare = await realpath(unshare);
  const tools = dirname(trueUnshare);
  const searchPath = [tools, process.env['PATH'] ?? '', '/usr/sbin', '/sbin', '/usr/bin', '/bin'].join(':');
  const umount = await realpath(findProgram('umount', searchPath) ?? '/bin/umount');
  const shell = await realpath('/bin/sh');
  const nix = await findNix(chosen, storeDir);
  const isNixos = shell.startsWith(`${storeDir}/`);
  const isInStore = (path: string) => path.startsWith(`${storeDir}/`);
  const place = (path: string) => (isInStore(path) ? inOwnStore(path, storeDir) : path);
  const installed = [shell, umount, trueUnshare, ...(nix.kind === 'program' ? [nix.program] : [])].filter(isInStore);
  const own: OwnPaths[] = [];
  if (installed.length > 0) own.push({ storeDir, paths: await closureOf(installed, storeDir, signal) });
  if (nix.kind === 'private') own.push(await privatePaths(nix.nix, storeDir));
  return {
    nix: nix.kind === 'private' ? inOwnStore(join(nix.nix.storePath, 'bin/nix'), storeDir) : place(nix.program),
    umount: place(umount),
    innerUnshare: place(trueUnshare),
    shell: isNixos ? place(shell) : undefined,
    binds: [
      ...(isNixos ? [] : [...SYSTEM_FOLDERS, ...SYSTEM_FILES].map(sameBind)),
      ...(nix.kind === 'program' && !isInStore(nix.program) ? foldersOf(nix.program).map(sameBind) : []),
    ].filter((bind) => bind !== undefined),
    own,
    unshare,
    nsenter,
    searchPath,
  };
}

type FoundNix =
  | { readonly kind: 'program'; readonly program: string }
  | { readonly kind: 'private'; readonly nix: PrivateNix };

async function findNix(chosen: string | undefined, storeDir: string): Promise<FoundNix> {
  const program = chosen === undefined ? findProgram('nix') : programIn(resolve(chosen));
  const isProgram = program !== undefined && existsSync(program);
  const brought = chosen === undefined && isProgram ? undefined : broughtNix(program, chosen);
  if (brought?.storePath.startsWith(`${storeDir}/`) === true) return { kind: 'private', nix: brought };
  if (isProgram) return { kind: 'program', program: await realpath(program) };
  throw new NixferryError('nix-not-found', chosen === undefined ? NO_NIX : `there is no Nix at ${chosen}`, {
    hint: 'type nixferry get-nix, which takes one from the upstream and installs nothing; or name with --nix the program nix, or the folder that get-nix made',
  });
}

const NO_NIX = 'a rehearsal needs Nix, and there is none on the PATH';

function programIn(chosen: string): string {
  return statSync(chosen, { throwIfNoEntry: false })?.isDirectory() === true ? join(chosen, 'bin/nix') : chosen;
}

/** What `get-nix` made: in the folder that was chosen, or that a chosen program is in; else where it usually is. */
function broughtNix(program: string | undefined, chosen: string | undefined): PrivateNix | undefined {
  return chosen === undefined || program === undefined ? readPrivateNix() : readPrivateNix(dirname(dirname(program)));
}

function findTool(name: string): string {
  const found = findProgram(name);
  if (found !== undefined) return found;
  throw new NixferryError('program-missing', `a rehearsal needs the program ${name} of util-linux`, {
    hint: 'install util-linux, or rehearse on another Linux',
  });
}

/** A folder or file at the same place; a link, such as /bin to usr/bin, is followed. Undefined where there is none. */
function sameBind(path: string): RoomBind | undefined {
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats === undefined ? undefined : { from: path, at: path, isFolder: stats.isDirectory() };
}

/** What a program outside of the system's folders needs around it, by custom. */
function foldersOf(program: string): string[] {
  const folder = dirname(program);
  if (SYSTEM_FOLDERS.some((system) => folder === system || folder.startsWith(`${system}/`))) return [];
  if (basename(folder) !== 'bin') return [folder];
  return [folder, ...['lib', 'lib64', 'libexec', 'share/nix'].map((name) => join(dirname(folder), name))];
}

async function closureOf(programs: readonly string[], storeDir: string, signal: AbortSignal): Promise<string[]> {
  const depth = storeDir.split('/').length + 1;
  const storePaths = new Set(programs.map((program) => program.split('/').slice(0, depth).join('/')));
  const purpose = 'asking what the Nix in the store needs to run';
  const printed = await runNix('nix-store', ['--query', '--requisites', ...storePaths], { purpose, signal });
  return printed
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '');
}

/** All that `get-nix` has brought is one closure. */
async function privatePaths(nix: PrivateNix, storeDir: string): Promise<OwnPaths> {
  const folder = join(nix.folder, STORE_ROOT, storeDir);
  const names = await readdir(folder);
  return { storeDir, paths: names.filter((name) => /^[0-9a-z]{32}-/.test(name)).map((name) => join(folder, name)) };
}
