// A Linux namespace that stays open for several commands: with an own folder over /nix, with or without a network,
// optionally with another system (a chroot) as its root. It is private to its processes: when the last one ends, the
// kernel takes every mount down, also after a crash of the test.

import { spawn } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { type RunningProcess, type RunOptions, type RunResult, run, start, toolEnvironment } from './run.ts';

export interface NamespaceOptions {
  /** Bound over /nix: what is in it is all that Nix sees of a store. */
  readonly nixDirectory: string;
  /** 'none': nothing but loopback. A namespace: shares that one's network. */
  readonly network: 'host' | 'none' | Namespace;
  /** The root of another system; /proc, /sys, /dev and `shared` are bound into it. */
  readonly chroot?: string | undefined;
  /** Folders that are seen inside a chroot at the same place. */
  readonly shared?: readonly string[] | undefined;
}

export interface Namespace extends AsyncDisposable {
  readonly pid: number;
  run(command: string, args?: readonly string[], options?: RunOptions): Promise<RunResult>;
  start(command: string, args?: readonly string[], options?: RunOptions): RunningProcess;
}

/** Needs root. Rejects with what the system said when it does not allow namespaces. */
export async function openNamespace(options: NamespaceOptions): Promise<Namespace> {
  if (process.getuid?.() !== 0) throw new Error('namespaces need root: run the tests as root');
  const root = options.chroot ?? '';
  await mkdir(`${root}/nix`, { recursive: true });
  for (const folder of root === '' ? [] : (options.shared ?? [])) await mkdir(`${root}${folder}`, { recursive: true });

  const unshare = ['unshare', '--mount', '--propagation', 'private'];
  if (options.network === 'none') unshare.push('--net');
  const join = typeof options.network === 'string' ? [] : ['nsenter', `--net=/proc/${options.network.pid}/ns/net`];
  const [program = 'unshare', ...args] = [...join, ...unshare, '/bin/sh', '-euc', mountScript(options)];
  const holder = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], env: toolEnvironment() });
  await untilReady(holder);
  const pid = holder.pid;
  if (pid === undefined) throw new Error('the namespace has no process');

  const children = new Set<RunningProcess>();
  // With --root also when the tests themselves run in a chroot: a mount namespace knows only the outermost root.
  const enter = ['--mount', '--net', '--root', '--wd', '--target', String(pid)];
  const wrap = (command: string, commandArgs: readonly string[], runOptions: RunOptions): readonly string[] => {
    // nsenter would look the program up and start in a folder as they are outside.
    const cwd = runOptions.cwd === undefined ? '/' : path.resolve(runOptions.cwd);
    return [...enter, '--', '/bin/sh', '-euc', 'cd "$0"; exec "$@"', cwd, command, ...commandArgs];
  };
  return {
    pid,
    run: (command, commandArgs = [], runOptions = {}) =>
      run('nsenter', wrap(command, commandArgs, runOptions), { ...runOptions, cwd: undefined }),
    start: (command, commandArgs = [], runOptions = {}) => {
      const child = start('nsenter', wrap(command, commandArgs, runOptions), { ...runOptions, cwd: undefined });
      children.add(child);
      child.done.then(
        () => children.delete(child),
        () => children.delete(child),
      );
      return child;
    },
    [Symbol.asyncDispose]: async () => {
      await Promise.all([...children].map((child) => child[Symbol.asyncDispose]()));
      const ended = new Promise((resolve) => holder.once('close', resolve));
      holder.stdin.end();
      await ended;
    },
  };
}

function mountScript({ nixDirectory, network, chroot, shared = [] }: NamespaceOptions): string {
  const root = chroot ?? '';
  const lines = [`mount --bind ${quote(nixDirectory)} ${quote(`${root}/nix`)}`];
  if (network === 'none') lines.push('ip link set lo up');
  if (chroot !== undefined) {
    for (const folder of ['/proc', '/sys', '/dev']) lines.push(`mount --rbind ${folder} ${quote(root + folder)}`);
    for (const folder of shared) lines.push(`mount --bind ${quote(folder)} ${quote(root + folder)}`);
  }
  // The namespace lives as long as somebody holds the other end of this pipe.
  const hold = `/bin/sh -c 'echo ready; exec cat'`;
  lines.push(`exec ${chroot === undefined ? '' : `chroot ${quote(chroot)} `}${hold}`);
  return lines.join('\n');
}

function untilReady(holder: ReturnType<typeof spawn>): Promise<void> {
  return new Promise((resolve, reject) => {
    let stderr = '';
    holder.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    holder.stdout?.once('data', () => resolve());
    holder.once('error', reject);
    holder.once('close', (code) => reject(new Error(`cannot open a namespace (exit code ${code}): ${stderr}`)));
  });
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
