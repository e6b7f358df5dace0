import { execFile } from 'node:child_process';
import { findProgram } from '../../base/find-program.ts';
import { LIMITS } from '../../base/limits.ts';

/** Whether something came to its end in time. */
export type Bounded<Value> = { readonly value: Value } | { readonly late: true } | { readonly error: unknown };

/** Runs something that obeys a signal, and gives it `timeoutMs`. */
export async function bounded<Value>(
  timeoutMs: number,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<Value>,
): Promise<Bounded<Value>> {
  const timeout = AbortSignal.timeout(timeoutMs);
  try {
    return { value: await work(AbortSignal.any([signal, timeout])) };
  } catch (error) {
    signal.throwIfAborted();
    return timeout.aborted ? { late: true } : { error };
  }
}

/**
 * The addresses of a name as programs on this machine find them, hosts files and all. By a program that can be killed: a look-up within our own process
 * cannot be given up, and would keep it from ending. Undefined when there is no such program; empty when the name is unknown.
 */
export function lookUpName(name: string, signal: AbortSignal): Promise<readonly string[] | undefined> {
  const getent = findProgram('getent');
  if (getent === undefined) return Promise.resolve(undefined);
  return new Promise((resolve, reject) => {
    const options = { signal, killSignal: 'SIGKILL' as const, maxBuffer: LIMITS.programStderrBytes * 64 };
    execFile(getent, ['ahosts', name], options, (error, stdout) => {
      if (error !== null && (error.name === 'AbortError' || typeof error.code === 'string')) reject(error);
      else resolve([...new Set(stdout.split('\n').flatMap((line) => /^\S+/.exec(line)?.[0] ?? []))]);
    });
  });
}
