import { spawn } from 'node:child_process';
import { NixferryError, systemErrorCode } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';

// src/evaluate asks the Nix that is installed here: what a root is, what the local store holds. It knows no mirror
// and no upstream, and it depends only on what Nix has printed alike since 2.4.

export type NixProgram = 'nix' | 'nix-store';

export interface NixCommandOptions {
  readonly signal?: AbortSignal | undefined;
  /** Folder to run in: relative flake references and files are seen from there. */
  readonly workingDirectory?: string | undefined;
  /** What the command is run for, for the error message: `describing 3 local paths`. */
  readonly purpose: string;
}

/**
 * Runs Nix and gives back what it printed on stdout.
 * @throws NixferryError `nix-not-found` when there is no such program, `nix-failed` with the end of its stderr when it
 *   exits non-zero or prints more than LIMITS.nixOutputBytes.
 */
export function runNix(program: NixProgram, args: readonly string[], options: NixCommandOptions): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const child = spawn(program, [...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(options.workingDirectory === undefined ? {} : { cwd: options.workingDirectory }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  const output: Buffer[] = [];
  let outputBytes = 0;
  let complaints = '';
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
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    complaints = (complaints + chunk).slice(-LIMITS.nixComplaintCharacters);
  });
  child.on('error', (error) => reject(explainSpawnError(error, program, options.purpose)));
  child.on('close', (exitCode, killedBy) => {
    if (exitCode === 0) resolve(Buffer.concat(output));
    else
      reject(nixFailed(program, options.purpose, overflow ? 'it printed too much' : complaints, exitCode ?? killedBy));
  });
  return promise;
}

function explainSpawnError(error: Error, program: string, purpose: string): Error {
  if (systemErrorCode(error) !== 'ENOENT') return error;
  return new NixferryError('nix-not-found', `${purpose} needs the program \`${program}\`, which is not on the PATH`, {
    hint: 'install Nix (on Debian and Ubuntu: apt-get install nix-bin), or name the root as a store path or a list of them',
    cause: error,
  });
}

function nixFailed(program: string, purpose: string, complaints: string, end: number | string | null): NixferryError {
  const said = complaints.trim();
  return new NixferryError(
    'nix-failed',
    `${purpose}: \`${program}\` ended with ${end}${said === '' ? '' : `:\n${said}`}`,
    { hint: 'run the same thing with Nix itself; when that works, type this command again' },
  );
}
