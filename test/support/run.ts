// Child processes in tests: captured output, a time limit, and errors that show what the program said.

import { type ChildProcess, spawn } from 'node:child_process';

export interface RunOptions {
  readonly cwd?: string | undefined;
  /** The whole environment; `toolEnvironment()` unless given. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly input?: string | undefined;
  readonly timeoutMs?: number | undefined;
  /** The exit code that counts as success; 0 unless given, 'any' for whatever comes. */
  readonly exitCode?: number | 'any' | undefined;
}

export interface RunResult {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunningProcess extends AsyncDisposable {
  readonly child: ChildProcess;
  readonly done: Promise<RunResult>;
  /** Resolves to the first match in stdout or stderr, also in what was printed before; rejects when the process ends. */
  waitForOutput(pattern: RegExp, timeoutMs?: number): Promise<RegExpExecArray>;
  /** Sends the signal (SIGTERM) and resolves when the process has ended. */
  stop(signal?: NodeJS.Signals): Promise<RunResult>;
}

const DEFAULT_TIMEOUT_MS = 120_000;
const SHOWN_OUTPUT_CHARS = 6000;

/** Runs a program to its end; rejects with all that it said when it ends otherwise than `exitCode`, or too late. */
export async function run(command: string, args: readonly string[] = [], options: RunOptions = {}): Promise<RunResult> {
  const running = start(command, args, options);
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    running.child.kill('SIGKILL');
  }, timeoutMs);
  try {
    const result = await running.done;
    const expected = options.exitCode ?? 0;
    if (late) throw new Error(describe(`did not end within ${timeoutMs} ms`, command, args, result));
    if (expected !== 'any' && result.exitCode !== expected) {
      const how = result.signal === null ? `exit code ${result.exitCode}` : `signal ${result.signal}`;
      throw new Error(describe(`ended with ${how}, not ${expected}`, command, args, result));
    }
    return result;
  } finally {
    clearTimeout(timer);
  }
}

/** Starts a program and leaves it running until it ends or is disposed of (SIGTERM, after 10 s SIGKILL). */
export function start(command: string, args: readonly string[] = [], options: RunOptions = {}): RunningProcess {
  const child = spawn(command, args, {
    cwd: options.cwd,
    env: options.env ?? toolEnvironment(),
    stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
  });
  child.stdin?.on('error', () => {}); // a program may end without reading all of it
  child.stdin?.end(options.input);
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const done = new Promise<RunResult>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (exitCode, signal) => resolve({ exitCode, signal, stdout, stderr }));
  });
  done.catch(() => {}); // reported by whoever awaits it

  const stop = async (signal: NodeJS.Signals = 'SIGTERM'): Promise<RunResult> => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
    return done.finally(() => clearTimeout(timer));
  };
  return {
    child,
    done,
    stop,
    waitForOutput: (pattern, timeoutMs = 30_000) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const match = pattern.exec(`${stdout}\n${stderr}`);
          if (match !== null) settle(() => resolve(match));
        };
        const failWith = (why: string) => (): void =>
          settle(() => reject(new Error(describe(`${why} (${pattern})`, command, args, { stdout, stderr }))));
        const timer = setTimeout(failWith(`did not say it within ${timeoutMs} ms`), timeoutMs);
        const onClose = failWith('ended without saying it');
        const settle = (finish: () => void): void => {
          clearTimeout(timer);
          child.stdout?.off('data', look);
          child.stderr?.off('data', look);
          child.off('close', onClose);
          finish();
        };
        child.stdout?.on('data', look);
        child.stderr?.on('data', look);
        child.once('close', onClose);
        look();
      }),
    [Symbol.asyncDispose]: async () => {
      await stop().catch(() => {});
    },
  };
}

/**
 * A small fixed environment plus `extra`: no setting of the developer's leaks into a test. npm's own folders are not on the
 * PATH, so `node` is the system's, as it is for users.
 */
export function toolEnvironment(extra: Readonly<Record<string, string>> = {}): Record<string, string> {
  const folders = (process.env['PATH'] ?? '').split(':').filter((folder) => !folder.includes('node_modules'));
  return {
    PATH: [...folders, '/usr/local/sbin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'].join(':'),
    HOME: '/nonexistent',
    LC_ALL: 'C.UTF-8',
    TMPDIR: process.env['TMPDIR'] ?? '/tmp',
    ...extra,
  };
}

function describe(
  what: string,
  command: string,
  args: readonly string[],
  output: { readonly stdout: string; readonly stderr: string },
): string {
  const shown = [command, ...args].join(' ');
  return [
    `${shown.length > 400 ? `${shown.slice(0, 400)}…` : shown}: ${what}`,
    `--- stdout\n${output.stdout.slice(-SHOWN_OUTPUT_CHARS)}`,
    `--- stderr\n${output.stderr.slice(-SHOWN_OUTPUT_CHARS)}`,
  ].join('\n');
}
