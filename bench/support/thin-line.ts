// A line of 100 Mbit/s and 20 ms each way between a web server and what fetches from it: the kernel's netem where it has
// it, otherwise a shaping proxy in a process of its own. Both peers of a comparison use the same one.

import { spawn } from 'node:child_process';
import path from 'node:path';
import type { NixEnvironment } from '../../test/support/nix.ts';

export interface ThinLine extends AsyncDisposable {
  /** What shapes, for the report. */
  readonly shapedBy: string;
  readonly port: number;
}

export interface LineOptions {
  /** Has a network of its own: its loopback becomes the line. */
  readonly where: NixEnvironment;
  readonly serverPort: number;
  readonly megabitsPerSecond: number;
  readonly delayMs: number;
}

export async function openThinLine(options: LineOptions): Promise<ThinLine> {
  return (await tryNetem(options)) ?? openProxy(options);
}

async function tryNetem({ where, serverPort, megabitsPerSecond, delayMs }: LineOptions): Promise<ThinLine | undefined> {
  const shape = ['netem', 'rate', `${megabitsPerSecond}mbit`, 'delay', `${delayMs}ms`, 'limit', '100000'];
  const { exitCode } = await where.run('tc', ['qdisc', 'add', 'dev', 'lo', 'root', ...shape], { exitCode: 'any' });
  if (exitCode !== 0) return undefined;
  return {
    shapedBy: 'tc netem',
    port: serverPort,
    [Symbol.asyncDispose]: async () => {
      await where.run('tc', ['qdisc', 'del', 'dev', 'lo', 'root']);
    },
  };
}

async function openProxy({ where, serverPort, megabitsPerSecond, delayMs }: LineOptions): Promise<ThinLine> {
  const shaper = path.join(import.meta.dirname, 'shaper.ts');
  const shape = [serverPort, megabitsPerSecond, delayMs].map(String);
  // Not by `where.start`: it ends when its stdin does, and that must stay open.
  const proxy = spawn(
    'nsenter',
    ['--net', '--target', String(where.namespace.pid), '--', process.execPath, shaper, ...shape],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  const ended = new Promise((resolve) => proxy.once('close', resolve));
  const port = await new Promise<number>((resolve, reject) => {
    proxy.stdout.once('data', (line: Buffer) => resolve(Number(line.toString())));
    proxy.once('close', () => reject(new Error('the shaping proxy did not start')));
  });
  return {
    shapedBy: 'a shaping proxy in user space (this kernel has no netem)',
    port,
    [Symbol.asyncDispose]: async () => {
      proxy.stdin.end();
      await ended;
    },
  };
}
