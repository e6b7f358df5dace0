import type { NixferryError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import type { OnProgress } from '../base/progress.ts';
import { createProgress } from './progress.ts';
import { createTally } from './tally.ts';

/** How a command speaks: results on stdout, progress and errors on stderr; with --json both as JSON lines on stdout. */
export interface Output {
  readonly json: boolean;
  readonly onProgress: OnProgress;
  /** Lines for a person; nothing with --json or --quiet. */
  say(text: string): void;
  /** The thing that was asked for (a key, a configuration): printed even with --quiet. */
  result(text: string, json: Record<string, unknown>): void;
  /** One machine-readable line, only with --json. */
  event(type: string, fields: Record<string, unknown>): void;
  /** A line on stderr that is worth reading even with --quiet. */
  warn(message: string): void;
  error(error: NixferryError): void;
  /** The last line with --json: how the command ended. */
  verdict(exitCode: number, fields: Record<string, unknown>): void;
  /** Takes a progress bar off the terminal. */
  finish(): void;
}

export interface OutputOptions {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly stdout: NodeJS.WritableStream;
  readonly stderr: NodeJS.WritableStream & { readonly isTTY?: boolean; readonly columns?: number };
  /** Turns the commands in a text for a person into what he has to type. */
  readonly typed: (text: string) => string;
}

/** Wires the streams of a process to an Output. */
export function createOutput(options: OutputOptions): Output {
  const { json, quiet, stdout, stderr, typed } = options;
  const writeEvent = (type: string, fields: Record<string, unknown>) => {
    if (json) stdout.write(`${JSON.stringify({ type, ...fields })}\n`);
  };
  const progress = createProgress({
    stream: stderr,
    style: quiet || json ? 'none' : stderr.isTTY === true ? 'bar' : 'lines',
  });
  const tally = createTally(writeEvent);
  return {
    json,
    onProgress(event) {
      if (json) tally.on(event);
      if (quiet && !json && event.type === 'notice') stderr.write(`${event.message}\n`);
      progress.on(event);
    },
    say(text) {
      if (json || quiet) return;
      progress.clear();
      stdout.write(`${printableLines(typed(text))}\n`);
    },
    result(text, fields) {
      progress.clear();
      if (json) writeEvent('result', fields);
      else stdout.write(`${printableLines(text)}\n`);
    },
    event: writeEvent,
    warn(message) {
      progress.clear();
      if (json) writeEvent('warning', { message: typed(message) });
      else stderr.write(`${printableLines(typed(message))}\n`);
    },
    error(error) {
      progress.clear();
      const hint = error.hint === undefined ? undefined : typed(error.hint);
      if (json) writeEvent('error', { code: error.code, message: error.message, hint });
      stderr.write(`error: ${printableLines(error.message)}\n`);
      if (hint !== undefined) stderr.write(`next:  ${printableLines(hint)}\n`);
    },
    verdict(exitCode, fields) {
      writeEvent('verdict', { exitCode, ...fields });
    },
    finish() {
      progress.clear();
    },
  };
}

/** Much of what is shown was chosen by others: key names, root names, paths. None of it may steer the terminal. */
function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n');
}
