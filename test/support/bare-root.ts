// Systems in a folder that have next to nothing: what the Nixferry on a medium must be able to start on.

import { copyFile, mkdir, readFile, realpath, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Namespace } from './namespace.ts';
import { type RunningProcess, type RunOptions, type RunResult, run, start, toolEnvironment } from './run.ts';

export interface BareRoot {
  readonly directory: string;
  /** Runs `/bin/sh ARGS` in there with the medium in the drive, and with no environment but what `options` gives. */
  run(args: readonly string[], options?: RunOptions): Promise<RunResult>;
  start(args: readonly string[], options?: RunOptions): RunningProcess;
  /** The same root with the medium mounted in another way. */
  withMedium(mount: MediumMount): BareRoot;
}

export interface MediumMount {
  /** The folder that is the medium. */
  readonly directory: string;
  /** Where it is seen in there. */
  readonly at: string;
  readonly options: 'ro' | 'ro,noexec';
  /** Whether the system is up: /proc is there. */
  readonly proc?: boolean | undefined;
}

/** Of a freshly installed Debian: a shell, coreutils, and the libraries where Debian has them; no Node, npm, xz, bzip2, Nix. */
export async function makeDebianRoot(directory: string, network: Namespace, medium: MediumMount): Promise<BareRoot> {
  await makeFolders(directory, ['usr/bin', 'var/tmp', 'root']);
  const programs = ['sh', 'cp', 'mkdir', 'chmod', 'rm', 'uname', 'readlink', 'ls', 'cat'];
  const files = await Promise.all(programs.map(async (name) => ({ name, file: await realpath(`/bin/${name}`) })));
  for (const { name, file } of files) await place(directory, `/usr/bin/${name}`, file);
  await copyFile(path.join(directory, 'usr/bin/sh'), path.join(directory, 'bin/sh'));
  for (const library of await librariesOf(files.map(({ file }) => file))) await place(directory, library, library);
  return bareRoot(directory, network, medium);
}

/**
 * Like a NixOS in what is missing: neither /usr nor /lib nor /lib64, and no program but /bin/sh, which has its loader and its library in
 * a folder of the store. /proc is empty.
 */
export async function makeNixosRoot(directory: string, network: Namespace, medium: MediumMount): Promise<BareRoot> {
  await makeFolders(directory, ['nix/store/glibc', 'etc']);
  const shell = await realpath('/bin/sh');
  const loader = LOADERS.find((name) => process.arch === name.arch)?.file ?? '';
  const program = await readFile(shell);
  const at = program.indexOf(`${loader}\0`);
  if (at === -1) throw new Error(`${shell} does not name the loader ${loader}`);
  program.fill(0, at, at + loader.length).write('/nix/store/glibc/ld.so', at, 'latin1');
  await writeFile(path.join(directory, 'bin/sh'), program, { mode: 0o755 });
  for (const library of await librariesOf([shell])) {
    await place(directory, `/nix/store/glibc/${library === loader ? 'ld.so' : path.basename(library)}`, library);
  }
  await writeFile(path.join(directory, 'etc/ld.so.conf'), '/nix/store/glibc\n');
  await run('ldconfig', ['-r', directory]);
  return bareRoot(directory, network, medium);
}

const LOADERS = [
  { arch: 'x64', file: '/lib64/ld-linux-x86-64.so.2' },
  { arch: 'arm64', file: '/lib/ld-linux-aarch64.so.1' },
] as const;

function bareRoot(directory: string, network: Namespace, medium: MediumMount): BareRoot {
  const into = [`--net=/proc/${network.pid}/ns/net`, '--', 'unshare', '--mount', '--propagation', 'private'];
  const mount = [
    '/bin/sh',
    '-euc',
    ENTER,
    directory,
    medium.directory,
    medium.at,
    medium.options,
    medium.proc === true ? 'proc' : '',
  ];
  const enter = (args: readonly string[], { env = {} }: RunOptions): readonly string[] => {
    const pairs = Object.entries(env).map(([name, value]) => `${name}=${value}`);
    return [...into, ...mount, ...pairs, '/usr/sbin/chroot', directory, '/bin/sh', ...args];
  };
  return {
    directory,
    run: (args, options = {}) => run('nsenter', enter(args, options), { ...options, env: toolEnvironment() }),
    start: (args, options = {}) => start('nsenter', enter(args, options), { ...options, env: toolEnvironment() }),
    withMedium: (other) => bareRoot(directory, network, other),
  };
}

// What is mounted goes away with the last process; only the empty folders stay. /proc stays empty unless it is asked for.
const ENTER = `
root=$0 medium=$1 at=$2 options=$3 proc=$4
shift 4
mkdir -p "$root$at"
mount --bind "$medium" "$root$at"
mount -o "remount,bind,$options" "$root$at"
mount --rbind /dev "$root/dev"
if [ -n "$proc" ]; then mount --rbind /proc "$root/proc"; fi
exec env -i "$@"
`;

async function makeFolders(directory: string, more: readonly string[]): Promise<void> {
  for (const folder of ['bin', 'dev', 'proc', 'tmp', 'srv', ...more]) {
    await mkdir(path.join(directory, folder), { recursive: true });
  }
}

async function place(directory: string, as: string, file: string): Promise<void> {
  const target = path.join(directory, as);
  await mkdir(path.dirname(target), { recursive: true });
  await copyFile(await realpath(file), target);
}

/** The loader too. */
async function librariesOf(programs: readonly string[]): Promise<string[]> {
  const { stdout } = await run('ldd', programs);
  return [...new Set([...stdout.matchAll(/(\/\S+) \(0x/g)].map((match) => match[1] ?? ''))];
}
