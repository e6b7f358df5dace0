import { accessSync, constants, existsSync, readdirSync, readFileSync } from 'node:fs';
import { networkInterfaces, userInfo } from 'node:os';
import { join } from 'node:path';
import { systemErrorCode } from '../../base/errors.ts';

/** What findings depend on, besides Nix: gathered once. */
export interface Machine {
  readonly isNixos: boolean;
  readonly isRoot: boolean;
  readonly userName: string;
  /** The groups of the user, by name. */
  readonly groupNames: readonly string[];
  /** Whether Nix would say that there is no internet, and stop fetching. */
  readonly hasNetwork: boolean;
  /** The socket of the daemon, when there is one. */
  readonly daemonSocket: string | undefined;
  /** Folders with what Nix remembers of caches: this user's, and that of root where it can be read. */
  readonly nixCaches: readonly { readonly user: string; readonly folder: string }[];
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export function lookAtMachine(environment: Readonly<Record<string, string | undefined>>): Machine {
  const isRoot = process.getuid?.() === 0;
  const userName = nameOfUser(environment);
  const socket = environment['NIX_DAEMON_SOCKET_PATH'] ?? '/nix/var/nix/daemon-socket/socket';
  return {
    isNixos: existsSync('/etc/NIXOS'),
    isRoot,
    userName,
    groupNames: groupsOf(userName),
    hasNetwork: findNetwork(),
    daemonSocket: existsSync(socket) ? socket : undefined,
    nixCaches: cacheFolders(environment, userName, isRoot),
    environment,
  };
}

/** As Nix asks: an IPv4 address that is not 127.0.0.1, or an IPv6 address that is not of this link alone. (Nix: `haveInternet`) */
function findNetwork(): boolean {
  return Object.values(networkInterfaces())
    .flat()
    .some((address) => {
      if (address === undefined) return false;
      if (address.family === 'IPv4') return address.address !== '127.0.0.1';
      return address.address !== '::1' && !/^fe[89ab]/i.test(address.address);
    });
}

function nameOfUser(environment: Machine['environment']): string {
  try {
    return userInfo().username;
  } catch {
    // A user number without a name.
    return environment['USER'] ?? String(process.getuid?.() ?? 'unknown');
  }
}

function groupsOf(userName: string): string[] {
  const numbers = new Set(process.getgroups?.() ?? []);
  return readLines('/etc/group').flatMap((line) => {
    const [name = '', , number = '', members = ''] = line.split(':');
    return numbers.has(Number(number)) || members.split(',').includes(userName) ? [name] : [];
  });
}

function cacheFolders(environment: Machine['environment'], user: string, isRoot: boolean) {
  const xdg = environment['XDG_CACHE_HOME'];
  const home = environment['HOME'];
  const own = xdg !== undefined && xdg !== '' ? xdg : home === undefined ? undefined : join(home, '.cache');
  const folders = own === undefined ? [] : [{ user, folder: join(own, 'nix') }];
  // The daemon is root, and remembers in root's home.
  return isRoot && own === '/root/.cache' ? folders : [...folders, { user: 'root', folder: '/root/.cache/nix' }];
}

/** The names in a folder; none where there is no such folder, or it is not for us to see. */
export function namesIfReadable(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (UNREADABLE.has(systemErrorCode(error) ?? '')) return [];
    throw error;
  }
}

export function isReadable(file: string): boolean {
  try {
    accessSync(file, constants.R_OK);
    return true;
  } catch (error) {
    if (UNREADABLE.has(systemErrorCode(error) ?? '')) return false;
    throw error;
  }
}

function readLines(file: string): string[] {
  try {
    return readFileSync(file, 'utf8').split('\n');
  } catch (error) {
    if (UNREADABLE.has(systemErrorCode(error) ?? '')) return [];
    throw error;
  }
}

const UNREADABLE: ReadonlySet<string> = new Set(['ENOENT', 'ENOTDIR', 'EACCES', 'EPERM']);
