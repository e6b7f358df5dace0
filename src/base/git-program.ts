import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { NixferryError } from './errors.ts';
import { findProgram } from './find-program.ts';
import { LIMITS } from './limits.ts';
import { printable } from './printable.ts';

export interface GitRun {
  readonly args: readonly string[];
  /** What it is for: `fetching https://…`. */
  readonly purpose: string;
  /** The repository; none is looked for elsewhere. */
  readonly repository?: string | undefined;
  /** Of what this process has in its environment for git, nothing counts. */
  readonly isAnonymous?: boolean;
  /** Set besides what this process has. */
  readonly environment?: Readonly<Record<string, string>>;
  readonly input?: string;
  /** Where its output goes, as an open file; else it is given back. */
  readonly output?: number;
  /** It is to say something at least this often, on stderr. */
  readonly silenceMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/** What git said and how it ended, where that was not well. */
export class GitFailed extends Error {
  override readonly name = 'GitFailed';
}

/** Settings that no file may change: nothing of a repository is ever run, and nothing is kept going in the background. */
const SETTINGS = [
  'core.hooksPath=/dev/null',
  'core.fsmonitor=false',
  'gc.auto=0',
  'maintenance.auto=false',
  'fetch.writeCommitGraph=false',
  'submodule.recurse=false',
];

/**
 * Runs git and gives back what it printed. No file that it writes grows beyond LIMITS.gitFileBytes, it asks nobody for passwords, and all that it has started
 * ends with it. Throws `program-missing`; GitFailed with what it said.
 */
export async function runGit(run: GitRun): Promise<Buffer> {
  const { args, purpose, repository, isAnonymous = false, environment = {}, input, output, silenceMs, signal } = run;
  signal?.throwIfAborted();
  const git = requireGit(purpose);
  const settings = SETTINGS.flatMap((setting) => ['-c', setting]);
  const all = [...settings, ...(repository === undefined ? [] : ['--git-dir', repository]), ...args];
  // The shell knows how to bound files (in blocks of 512 bytes), and becomes git. Without a terminal of its own, ssh cannot ask for anything.
  const child = spawn(
    '/bin/sh',
    ['-c', 'ulimit -f "$0" && exec "$@"', String(LIMITS.gitFileBytes / 512), git, ...all],
    {
      detached: true,
      stdio: [input === undefined ? 'ignore' : 'pipe', output ?? 'pipe', 'pipe'],
      env: {
        ...withoutGit(process.env, isAnonymous ? KEPT_OF_NOBODY : KEPT),
        LC_ALL: 'C',
        GIT_TERMINAL_PROMPT: '0',
        GIT_NO_REPLACE_OBJECTS: '1',
        ...environment,
      },
    },
  );
  const kill = (): void => killGroup(child);
  signal?.addEventListener('abort', kill, { once: true });
  let problem: string | undefined;
  const fail = (why: string): void => {
    problem ??= why;
    kill();
  };
  const watch = silenceMs === undefined ? undefined : setTimeout(() => fail('it stood still'), silenceMs);
  const complaints = readComplaints(child.stderr, () => watch?.refresh());
  try {
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
    const ended = once(child, 'close') as Promise<[number | null, string | null]>;
    const printed =
      child.stdout === null ? Buffer.alloc(0) : await readAll(child.stdout, () => fail('it printed too much'));
    const [code, killedBy] = await ended;
    signal?.throwIfAborted();
    if (code === 0 && problem === undefined) return printed;
    const end = problem ?? `git ended with ${code ?? killedBy ?? 'a signal'}`;
    throw new GitFailed([`${purpose}: ${end}`, ...complaints()].join('\n  '));
  } finally {
    clearTimeout(watch);
    signal?.removeEventListener('abort', kill);
    kill();
  }
}

/** The full path of the program. Throws `program-missing`. */
export function requireGit(purpose: string): string {
  const git = findProgram('git');
  if (git !== undefined) return git;
  throw new NixferryError('program-missing', `${purpose} needs the program git, which is not on the PATH`, {
    hint: 'install it (on Debian and Ubuntu: apt-get install git; with Nix: nix shell nixpkgs#git)',
  });
}

/** What would make git work on another repository, or with other settings, than it is told to here. */
export function withoutGit(environment: NodeJS.ProcessEnv, kept = KEPT): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(environment).filter(([name]) => !name.startsWith('GIT_') || kept.test(name)),
  );
}

/** Whom to trust, but nothing by which others would know who asks. */
const KEPT_OF_NOBODY = /^GIT_(?:SSL_CAINFO|SSL_CAPATH|EXEC_PATH)$/;
const KEPT = /^GIT_(?:CONFIG|SSH|SSL|PROXY|HTTP|TRACE|ASKPASS|EXEC_PATH)/;

/** It and all that it has started. */
export function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // All of them have ended.
  }
}

async function readAll(stdout: Readable, onTooMuch: () => void): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of stdout as AsyncIterable<Buffer>) {
    sizeBytes += chunk.length;
    if (sizeBytes > LIMITS.gitOutputBytes) {
      onTooMuch();
      break;
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** The last lines that are no progress. */
function readComplaints(stderr: Readable | null, onSaid: () => void): () => string[] {
  let kept = '';
  stderr?.setEncoding('utf8').on('data', (text: string) => {
    kept = (kept + text).slice(-LIMITS.gitComplaintCharacters);
    onSaid();
  });
  return () =>
    kept
      .split(/[\r\n]+/)
      .filter((line) => line.trim() !== '' && !/^(?:remote: )?[A-Z][a-z]+ [a-z]+: /.test(line))
      .slice(-5)
      .map((line) => printable(line.trim()));
}
