import type { Output } from './output.ts';

/** What a command gets from the process that runs it. */
export interface CommandRun {
  readonly output: Output;
  /** Aborted by Ctrl-C and SIGTERM. */
  readonly signal: AbortSignal;
  /** Sets the exit code of a command that ends without an exception. */
  finish(exitCode: number): void;
}
