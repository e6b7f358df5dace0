import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { explainNamespaceError } from './namespace-error.ts';
import type { RoomPrograms } from './nix-programs.ts';
import { copyOwnPaths, ownStoreDir } from './own-store.ts';
import { READY, type RoomBind, roomScript } from './room-script.ts';

/** A place without network in which Nix finds nothing but what was brought along. */
export interface Room extends AsyncDisposable {
  /** Where the file system outside has a path of the room. */
  outside(path: string): string;
  run(program: string, args: readonly string[], options: RoomRunOptions): Promise<RoomRun>;
}

export interface RoomRunOptions {
  readonly signal: AbortSignal;
  /** Added to the room's own. */
  readonly env?: Readonly<Record<string, string>>;
  /** Called with each line of stderr as it comes. */
  readonly onLine: (line: string) => void;
}

export interface RoomRun {
  readonly exitCode: number;
  /** At most LIMITS.nixOutputBytes. */
  readonly stdout: string;
}

export interface RoomOptions {
  /** Empty, for this room alone. */
  readonly folder: string;
  readonly storeDir: string;
  readonly programs: RoomPrograms;
  /** Seen read-only, beside what the programs need. */
  readonly binds: readonly RoomBind[];
  /** Small files to be made in it. */
  readonly files: ReadonlyMap<string, string>;
  readonly signal: AbortSignal;
}

/** Where the room has the programs of Nix under their names. */
export const ROOM_PROGRAMS = '/nixferry/bin';
const NIX_PROGRAMS = ['nix', 'nix-store', 'nix-instantiate'];

/**
 * Opens a room: a mount, network and process namespace (and one of users, unless root asks), whose first process ends with this one.
 * The store in it is an empty folder below `folder`. Throws `namespace-refused` when the system does not allow it.
 */
export async function openRoom(options: RoomOptions): Promise<Room> {
  const { programs, storeDir, signal } = options;
  const root = join(options.folder, 'root');
  const outside = (path: string) => join(root, path);
  for (const folder of [storeDir, '/nix/var', '/tmp', '/build', ROOM_HOME, '/nixferry']) {
    await mkdir(outside(folder), { recursive: true });
  }
  for (const own of programs.own) await copyOwnPaths(own, outside(ownStoreDir(storeDir)), signal);
  for (const [name, text] of options.files) {
    await mkdir(dirname(outside(name)), { recursive: true });
    await writeFile(outside(name), text);
  }
  const links = NIX_PROGRAMS.map((name) => ({ at: `${ROOM_PROGRAMS}/${name}`, to: programs.nix }));
  if (programs.shell !== undefined) links.push({ at: '/bin/sh', to: programs.shell });
  const script = roomScript({ root, binds: [...programs.binds, ...options.binds], links, umount: programs.umount });
  const holder = await startHolder(programs, script, signal);
  const enter = [...(isRoot() ? [] : ENTER_USER), ...ENTER, '--target', holder.pid, '--'];
  if (!isRoot()) enter.push(programs.innerUnshare, ...AS_ORDINARY_USER);
  return {
    outside,
    run: (program, args, runOptions) =>
      runInside(programs.nsenter, [...enter, program, ...args], roomEnvironment(storeDir, runOptions.env), runOptions),
    [Symbol.asyncDispose]: holder.end,
  };
}

/** Who Nix is in a room that was not made by root. */
export const ROOM_USER = { name: 'nixferry', uid: 1000, gid: 100 };
export const ROOM_HOME = '/home/nixferry';

/** Whether the room needs no namespace of users: it is root who asks. */
export function isRoot(): boolean {
  return process.getuid?.() === 0;
}

const ENTER_USER = ['--user', '--preserve-credentials'];
// The root of a namespace of one user is nobody's master: Nix, taking itself for root, would try what only root can. So it runs as an ordinary user,
// as a Nix that somebody installed for himself does.
const AS_ORDINARY_USER = ['--user', `--map-user=${ROOM_USER.uid}`, `--map-group=${ROOM_USER.gid}`, '--'];
const ENTER = ['--mount', '--net', '--pid', '--root', '--wd'];
const NAMESPACES = ['--mount', '--net', '--pid', '--fork', '--kill-child', '--propagation', 'private'];

/** Nothing of this side's environment: no proxy, no NIX_PATH, no home. */
function roomEnvironment(storeDir: string, more: Readonly<Record<string, string>> = {}): Record<string, string> {
  return {
    PATH: `${ROOM_PROGRAMS}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
    HOME: ROOM_HOME,
    USER: isRoot() ? 'root' : ROOM_USER.name,
    LC_ALL: 'C.UTF-8',
    TMPDIR: '/tmp',
    NIX_STORE_DIR: storeDir,
    NIX_STATE_DIR: '/nix/var/nix',
    NIX_LOG_DIR: '/nix/var/log/nix',
    NIX_CONF_DIR: '/etc/nix',
    NIX_USER_CONF_FILES: '',
    NIX_REMOTE: '',
    ...more,
  };
}

interface Holder {
  readonly pid: string;
  end(): Promise<void>;
}

async function startHolder(programs: RoomPrograms, script: string, signal: AbortSignal): Promise<Holder> {
  const user = isRoot() ? [] : ['--user', '--map-root-user'];
  // A session of its own: Ctrl-C on the terminal must not end it before what runs in it was stopped.
  const child = spawn(programs.unshare, [...user, ...NAMESPACES, '/bin/sh', '-c', script], {
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
    env: { PATH: programs.searchPath, LC_ALL: 'C' },
  });
  const end = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null && child.pid !== undefined) {
      const closed = once(child, 'close');
      child.stdin.destroy();
      // Also when a builder hangs: with the first process the kernel ends all others of the namespace.
      child.kill('SIGKILL');
      await closed;
    }
  };
  try {
    return { pid: await untilReady(child, signal), end };
  } catch (error) {
    await end();
    throw error;
  }
}

async function untilReady(child: ChildProcess, signal: AbortSignal): Promise<string> {
  let complaints = '';
  child.stdin?.on('error', () => {}); // it may end before it is told to
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    complaints = (complaints + text).slice(-LIMITS.nixComplaintCharacters);
  });
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  child.once('error', reject);
  child.once('close', () => reject(explainNamespaceError(complaints)));
  const stop = (): void => reject(signal.reason);
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop, { once: true });
  if (child.stdout !== null) {
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line.startsWith(READY)) resolve(line.slice(READY.length).trim());
    });
  }
  try {
    return await promise;
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

async function runInside(
  nsenter: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  { signal, onLine }: RoomRunOptions,
): Promise<RoomRun> {
  signal.throwIfAborted();
  const child = spawn(nsenter, [...args], { stdio: ['ignore', 'pipe', 'pipe'], detached: true, env });
  // nsenter itself dies; what it started ends with the room.
  const stop = (): void => void child.kill('SIGKILL');
  signal.addEventListener('abort', stop, { once: true });
  const output: Buffer[] = [];
  let outputBytes = 0;
  child.stdout.on('data', (chunk: Buffer) => {
    outputBytes += chunk.length;
    if (outputBytes <= LIMITS.nixOutputBytes) output.push(chunk);
    else stop();
  });
  const lines = createInterface({ input: child.stderr }).on('line', onLine);
  try {
    const [code] = await Promise.all([untilClosed(child), once(lines, 'close')]);
    signal.throwIfAborted();
    if (outputBytes > LIMITS.nixOutputBytes) {
      throw new NixferryError('nix-failed', 'Nix printed too much', { hint: 'rehearse fewer roots at a time' });
    }
    return { exitCode: code, stdout: Buffer.concat(output).toString('utf8') };
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

function untilClosed(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code ?? 1));
  });
}
