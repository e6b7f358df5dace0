import { spawn } from 'node:child_process';
import { NixferryError } from '../base/errors.ts';
import { findProgram } from '../base/find-program.ts';
import { LIMITS } from '../base/limits.ts';
import { compareVersions, parseNixVersion, recogniseTooOld, type TooOld } from './nix-age.ts';
import { privateProgram, readPrivateNix } from './private-nix.ts';

// src/evaluate asks the Nix that is installed here: what a root is, what the local store holds. It knows no mirror
// and no upstream, and it depends only on what Nix has printed alike since 2.4.

export type NixProgram = 'nix' | 'nix-store';

export interface NixCommandOptions {
  readonly signal?: AbortSignal | undefined;
  /** Folder to run in: relative flake references and files are seen from there. */
  readonly workingDirectory?: string | undefined;
  /** What the command is run for, for the error message: `describing 3 local paths`. */
  readonly purpose: string;
  /** Set besides what this process has. */
  readonly environment?: Readonly<Record<string, string>> | undefined;
  /** Makes the reader of stderr, one for each program that is started; unless given, its end is kept. */
  readonly complaints?: (() => Complaints) | undefined;
}

/** Reads stderr as it comes, and knows at the end what in it is to be shown. */
export interface Complaints {
  push(text: string): void;
  text(): string;
}

/**
 * Runs Nix and gives back what it printed on stdout. Where none is on the PATH, or the one there proves too old, the one that
 * `nixferry get-nix` has brought does the work.
 * @throws NixferryError `nix-not-found` when there is no such program, `nix-too-old` when it says or shows that it is, `nix-failed` with
 *   the end of its stderr when it exits non-zero for another reason or prints more than LIMITS.nixOutputBytes.
 */
export async function runNix(
  program: NixProgram,
  args: readonly string[],
  options: NixCommandOptions,
): Promise<Buffer> {
  const privateNix = readPrivateNix();
  const installed = findProgram(program);
  if (installed === undefined || (privateNix !== undefined && outdated.has(searchPath()))) {
    if (privateNix === undefined) throw nixNotFound(program, options.purpose);
    return outputOf(await start(privateProgram(privateNix, program), args, options), program, options.purpose);
  }
  const run = await start(installed, args, options);
  if (run.end === 0 || run.overflow) return outputOf(run, program, options.purpose);
  const version = await versionOf(installed, options);
  const tooOld = version === undefined ? undefined : await recogniseTooOld(run.complaints, version);
  if (tooOld === undefined || version === undefined) throw nixFailed(program, options.purpose, run);
  if (privateNix !== undefined && compareVersions(privateNix.version, version) > 0) {
    const again = await start(privateProgram(privateNix, program), args, options);
    if (again.end === 0) outdated.add(searchPath());
    return outputOf(again, program, options.purpose);
  }
  throw nixTooOld(program, options.purpose, run, version, tooOld);
}

// A Nix that another one had to stand in for is not asked again: the two have stores of their own, and what evaluation left is in the other's.
const outdated = new Set<string>();

function searchPath(): string {
  return process.env['PATH'] ?? '';
}

/** Whether there is a Nix to run: on the PATH, or a private one. */
export function isNixThere(program: NixProgram): boolean {
  return findProgram(program) !== undefined || readPrivateNix() !== undefined;
}

interface NixRun {
  readonly output: Buffer;
  readonly overflow: boolean;
  /** The end of stderr. */
  readonly complaints: string;
  /** Exit code, or the signal that killed it. */
  readonly end: number | string;
}

function start(
  file: string,
  args: readonly string[],
  { workingDirectory, signal, environment, complaints: makeComplaints = keepEnd }: Omit<NixCommandOptions, 'purpose'>,
): Promise<NixRun> {
  const { promise, resolve, reject } = Promise.withResolvers<NixRun>();
  const child = spawn(file, [...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(workingDirectory === undefined ? {} : { cwd: workingDirectory }),
    ...(signal === undefined ? {} : { signal }),
    ...(environment === undefined ? {} : { env: { ...process.env, ...environment } }),
  });
  const output: Buffer[] = [];
  let outputBytes = 0;
  const complaints = makeComplaints();
  let overflow = false;
  child.stdout.on('data', (chunk: Buffer) => {
    outputBytes += chunk.length;
    if (outputBytes > LIMITS.nixOutputBytes) {
      overflow = true;
      child.kill('SIGKILL');
    } else {
      output.push(chunk);
    }
  });
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => complaints.push(chunk));
  // One that was told to stop may be writing still: only when it has ended may its store be removed.
  let failure: Error | undefined;
  child.on('error', (error) => {
    failure = error;
    if (child.pid === undefined) reject(error);
  });
  child.on('close', (exitCode, killedBy) => {
    if (failure !== undefined) {
      reject(failure);
      return;
    }
    const end = exitCode ?? killedBy ?? 'a signal';
    resolve({ output: Buffer.concat(output), overflow, complaints: complaints.text(), end });
  });
  return promise;
}

function keepEnd(): Complaints {
  let kept = '';
  return {
    push: (text) => {
      kept = (kept + text).slice(-LIMITS.nixComplaintCharacters);
    },
    text: () => kept,
  };
}

async function versionOf(installed: string, options: NixCommandOptions): Promise<string | undefined> {
  const { output } = await start(installed, ['--version'], options);
  return parseNixVersion(output.toString('utf8'));
}

function outputOf(run: NixRun, program: string, purpose: string): Buffer {
  if (run.end === 0 && !run.overflow) return run.output;
  throw nixFailed(program, purpose, run);
}

const GET_NIX =
  'type nixferry get-nix, which takes a newer Nix from the upstream and installs nothing; then type this command again';

function nixNotFound(program: string, purpose: string): NixferryError {
  return new NixferryError('nix-not-found', `${purpose} needs the program \`${program}\`, which is not on the PATH`, {
    hint: 'type nixferry get-nix, which takes one from the upstream and installs nothing; or install Nix (on Debian and Ubuntu: apt-get install nix-bin), or name the root as a store path or a list of them',
  });
}

function nixTooOld(
  program: string,
  purpose: string,
  run: NixRun,
  version: string,
  { isCertain, needed }: TooOld,
): NixferryError {
  if (!isCertain) {
    return nixFailed(program, purpose, run, `if this was written for a newer Nix than ${version}, ${GET_NIX}`);
  }
  const atLeast = needed === undefined ? '' : `; ${needed} or newer is needed`;
  const said = run.complaints.trim();
  return new NixferryError('nix-too-old', `${purpose}: the Nix ${version} here is too old${atLeast}:\n${said}`, {
    hint: GET_NIX,
  });
}

function nixFailed(
  program: string,
  purpose: string,
  { end, complaints, overflow }: NixRun,
  hint = 'run the same thing with Nix itself; when that works, type this command again',
): NixferryError {
  const said = overflow ? 'it printed too much' : complaints.trim();
  const message = `${purpose}: \`${program}\` ended with ${end}${said === '' ? '' : `:\n${said}`}`;
  return new NixferryError('nix-failed', message, { hint });
}
