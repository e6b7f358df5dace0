// This machine as if Nix had never been on it: no /nix, and a PATH with only the programs that any Linux has.

import { access, chmod, mkdir, symlink } from 'node:fs/promises';
import path from 'node:path';
import { type RunOptions, type RunResult, run, toolEnvironment } from './run.ts';

export interface NoNix {
  /** Scratch files; everybody may write here. */
  readonly directory: string;
  /** What commands are called with: PATH, HOME and a cache folder, all in `directory`. */
  readonly env: Readonly<Record<string, string>>;
  run(command: string, args: readonly string[], options?: NoNixRunOptions): Promise<RunResult>;
}

export interface NoNixRunOptions extends RunOptions {
  /** Not root: nobody. */
  readonly unprivileged?: boolean | undefined;
  /** No namespace can be made in there. */
  readonly namespaces?: boolean | undefined;
}

const PROGRAMS = 'sh node env uname unshare mount mkdir ln readlink chroot id cat ls xz bzip2 zstd git tar'.split(' ');

/** Needs root. `directory` is empty and outlives the commands. */
export async function openNoNix(directory: string): Promise<NoNix> {
  const at = (...names: string[]) => path.join(directory, ...names);
  for (const folder of ['bin', 'stage', 'home', 'work']) await mkdir(at(folder), { recursive: true });
  for (const folder of ['home', 'work']) await chmod(at(folder), 0o777);
  for (const name of PROGRAMS) await symlink(await findProgram(name), at('bin', name));
  const env = { PATH: at('bin'), HOME: at('home'), TMPDIR: '/tmp', LC_ALL: 'C.UTF-8' };
  return {
    directory: at('work'),
    env,
    run: (command, args, { unprivileged = false, namespaces = true, ...options } = {}) => {
      const who = unprivileged ? ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--'] : ['env'];
      // Without this capability no mount namespace can be made; a limit of none keeps user namespaces away.
      const may = namespaces ? [] : ['setpriv', '--bounding-set=-sys_admin', '--'];
      const pairs = Object.entries(options.env ?? env).map(([name, value]) => `${name}=${value}`);
      const words = [options.cwd ?? '/', ...may, ...who, 'env', '-i', ...pairs, command, ...args];
      const own = namespaces ? [] : ['--user', '--map-root-user'];
      const limit = namespaces ? ':' : 'echo 0 >/proc/sys/user/max_user_namespaces';
      return run('unshare', ['--mount', ...own, '/bin/sh', '-euc', ENTER, at('stage'), limit, ...words], {
        ...options,
        cwd: undefined,
        env: toolEnvironment(),
      });
    },
  };
}

// The limit on user namespaces is that of the namespace that it is written in: the machine's own stays as it is.
const ENTER = `
stage=$0 limit=$1
shift
eval "$limit"
mount -t tmpfs stage "$stage"
for entry in /*; do
  if [ "$entry" = /nix ]; then continue
  elif [ -h "$entry" ]; then ln -s "$(readlink "$entry")" "$stage$entry"
  elif [ -d "$entry" ]; then mkdir "$stage$entry"; mount --rbind "$entry" "$stage$entry"
  fi
done
exec chroot "$stage" /bin/sh -euc 'cd "$0"; exec "$@"' "$@"
`;

async function findProgram(name: string): Promise<string> {
  for (const folder of ['/usr/local/bin', '/usr/bin', '/bin', '/usr/sbin', '/sbin']) {
    const file = path.join(folder, name);
    const isThere = await access(file).then(
      () => true,
      () => false,
    );
    if (isThere) return file;
  }
  throw new Error(`this machine has no ${name}`);
}
