import { dirname, isAbsolute, join } from 'node:path';
import { readFileIfExists } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import { locateStorePath } from './private-nix.ts';

/** Why a Nix may have refused: it is older than what it was given. */
export interface TooOld {
  /** False when a mistake in the expression would read alike. */
  readonly isCertain: boolean;
  /** The least version that is asked for, where that is known: `2.18`. */
  readonly needed: string | undefined;
}

/**
 * Tells from what Nix printed whether it is too old: nixpkgs says so itself (default.nix, against lib/minver.nix or lib/minfeatures.nix), unless the
 * parser gives up before; then the lib/minver.nix above the file that it could not read tells. Undefined when nothing points to its age.
 * @param version of the Nix that refused
 */
export async function recogniseTooOld(complaints: string, version: string): Promise<TooOld | undefined> {
  const said = NIXPKGS_SAYS.map((pattern) => pattern.exec(complaints)?.[1]).find((needed) => needed !== undefined);
  if (said !== undefined) return { isCertain: true, needed: said };
  const needed = await minimumOf(complaints);
  if (needed !== undefined && compareVersions(version, needed) < 0) return { isCertain: true, needed };
  if (TOO_OLD.some((pattern) => pattern.test(complaints))) return { isCertain: true, needed: undefined };
  if (PERHAPS_TOO_OLD.some((pattern) => pattern.test(complaints))) return { isCertain: false, needed: undefined };
  return undefined;
}

/** `2.8.0` of `nix (Nix) 2.8.0`, `2.91.1` of `nix (Lix, like Nix) 2.91.1`; undefined for something else. */
export function parseNixVersion(printed: string): string | undefined {
  return /\s(\d+(?:\.\d+)+)\S*\s*$/.exec(printed.split('\n')[0] ?? '')?.[1];
}

/** Below 0 when `a` is older. Numbers count; `pre20250101` and the like do not. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [numbersOf(a), numbersOf(b)];
  for (let i = 0; i < Math.max(left.length, right.length); i += 1) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

const NIXPKGS_SAYS = [
  /This version of Nixpkgs requires Nix >= (\d[\d.]*\d)/,
  /requires an implementation of Nix with the following features:[^]*?reports at least (\d[\d.]*\d)/,
];

// Flags, commands and file formats that a newer Nix knows.
const TOO_OLD = [
  /requires an implementation of Nix with the following features/,
  /unrecognised (flag|option) '/,
  /is not a recognised command/,
  /unknown experimental feature '/,
  /has unsupported version/,
];

// Syntax that came later, functions that came later; and slips of the pen.
const PERHAPS_TOO_OLD = [
  /syntax error, unexpected/,
  /attribute '\w+' missing[^]*builtins\./,
  /undefined variable '__\w+'/,
  /unsupported argument '\w+' to '(fetch\w+|path|derivation)/,
];

/** What the nearest lib/minver.nix above a file in the complaints asks for. */
async function minimumOf(complaints: string): Promise<string | undefined> {
  const folders = new Set<string>();
  for (const [, file = ''] of complaints.matchAll(/(\/[^\s:'"«»()]+\.nix)/g)) {
    for (let folder = dirname(file); isAbsolute(folder) && folder !== dirname(folder); folder = dirname(folder)) {
      folders.add(folder);
    }
  }
  for (const folder of folders) {
    const bytes = await readFileIfExists(locateStorePath(join(folder, 'lib/minver.nix')), LIMITS.minverBytes);
    const needed = /"(\d+(?:\.\d+)*)"/.exec(bytes?.toString('latin1') ?? '')?.[1];
    if (needed !== undefined) return needed;
  }
  return undefined;
}

function numbersOf(version: string): number[] {
  return (/^\d+(\.\d+)*/.exec(version)?.[0] ?? '').split('.').map(Number);
}
