import { stripVTControlCharacters } from 'node:util';
import { LIMITS } from '../base/limits.ts';
import type { Complaints } from './nix-command.ts';

/** What Nix tells of an evaluation when it is asked to be chatty, besides what it complains of. */
export interface EvaluationLog extends Complaints {
  /** Files that were parsed, as Nix names them: links are not followed, and files of a store of its own lie below that store's folder. */
  readonly evaluatedFiles: ReadonlySet<string>;
  /** Store paths that are copies of files or folders which an expression names. */
  readonly copiedSources: ReadonlySet<string>;
  /** Files and folders from which something was copied to the store, by Nix since about 2.20. */
  readonly originals: ReadonlySet<string>;
  /** Derivations of which outputs were asked for, import-from-derivation; only with DEBUG_LOG, and only as far as Nix of before 2.26 is concerned. */
  readonly realised: ReadonlySet<string>;
  /** Addresses of repositories of git that something was fetched from, or would have been if an earlier evaluation had not. */
  readonly repositories: ReadonlySet<string>;
}

/** Makes Nix print what `readEvaluationLog` understands: each message as JSON, so that what is meant for people can be told from the rest. */
export const LOG_ARGUMENTS = ['--log-format', 'internal-json', '-vv'] as const;

/** In addition to LOG_ARGUMENTS: tells also of each derivation that is to be realised. */
export const DEBUG_LOG = ['-v'] as const;

/** Reads stderr of Nix called with LOG_ARGUMENTS. The format has been the same since Nix 2.4. */
export function readEvaluationLog(): EvaluationLog {
  const evaluatedFiles = new Set<string>();
  const copiedSources = new Set<string>();
  const originals = new Set<string>();
  const realised = new Set<string>();
  const repositories = new Set<string>();
  let rest = '';
  let complaints = '';
  const complain = (text: string) => {
    complaints = `${complaints}${text}\n`.slice(-LIMITS.nixComplaintCharacters);
  };
  const readLine = (line: string) => {
    const message = parseMessage(line);
    if (message === undefined) complain(line);
    else if (message.level <= WARNING) {
      if (!OUR_SETTINGS.test(message.text)) complain(message.text);
    } else {
      addMatch(evaluatedFiles, EVALUATED, message.text);
      addMatch(copiedSources, COPIED, message.text);
      addMatch(originals, COPYING, message.text);
      addMatch(realised, REALISING, message.text);
      addMatch(repositories, FROM_REPOSITORY, message.text);
    }
  };
  return {
    evaluatedFiles,
    copiedSources,
    originals,
    realised,
    repositories,
    push(text) {
      const lines = (rest + text).split('\n');
      rest = (lines.pop() ?? '').slice(0, LIMITS.nixLogLineCharacters);
      for (const line of lines) if (line !== '') readLine(line);
    },
    text() {
      if (rest !== '') readLine(rest);
      rest = '';
      return forPeople(complaints);
    },
  };
}

const PREFIX = '@nix ';
const WARNING = 1;
const NOT_FOR_PEOPLE = 7;
const EVALUATED = /^evaluating file '(.*)'$/;
const COPYING = /^copying '(\/[^']*)' to the store$/;
const REALISING = /^building of '([^'!^*]*\.drv)[!^*][^']*' from \.drv file: created$/;
const FROM_REPOSITORY = /^using revision [0-9a-f]{40} of repo '([^']*)'$/;
const COPIED = /^copied source '.*' -> '([^']*)'$/;
// A daemon tells users whom it does not trust that it goes without what this process was told alone.
const OUR_SETTINGS = /^warning: ignoring (the client-specified setting|untrusted substituter) /;
// Nobody can add a flag to this Nix.
const ADVICE = /^\(use '--show-trace' to show detailed location information\)\n/m;
const TRUNCATED = /^ *\(stack trace truncated; use '--show-trace' [^)]*\)\s*$/;
// Where a trace leads through an expression of ours: a paragraph each.
const OWN_TRACE = /^ *… [^\n]*\n *at «string»:/;

function forPeople(complaints: string): string {
  return complaints
    .replace(ADVICE, '')
    .split(/\n(?= *… )|\n\n/)
    .filter((paragraph) => !OWN_TRACE.test(paragraph) && !TRUNCATED.test(paragraph))
    .join('\n\n');
}

function addMatch(found: Set<string>, pattern: RegExp, text: string): void {
  const match = pattern.exec(text)?.[1];
  if (match !== undefined) found.add(match);
}

/** A message, or the text of an activity, which is nothing for people. Undefined for a line that Nix did not write as JSON. */
function parseMessage(line: string): { readonly level: number; readonly text: string } | undefined {
  if (!line.startsWith(PREFIX)) return undefined;
  const value = parseJson(line.slice(PREFIX.length));
  if (value === undefined) return undefined;
  const { action, level, msg, text } = value;
  if (action === 'msg' && typeof level === 'number' && typeof msg === 'string') {
    return { level, text: stripVTControlCharacters(msg) };
  }
  return { level: NOT_FOR_PEOPLE, text: typeof text === 'string' ? text : '' };
}

function parseJson(text: string): Partial<Record<'action' | 'level' | 'msg' | 'text', unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}
