import { isAbsolute, resolve } from 'node:path';
import { NixferryError } from '../base/errors.ts';
import type { Installable } from './installable.ts';
import { nixString } from './nix-value.ts';

/** What Nix is told besides which thing to evaluate. */
export interface NixSettings {
  /** For which kinds of machine, `aarch64-linux`; none for what Nix takes by itself. */
  readonly systems: readonly string[];
  /** `--arg` and `--argstr`, for the functions in a file. */
  readonly arguments: readonly NixArgument[];
  /** `-I`, in order. */
  readonly searchPath: readonly string[];
  /** Lets a flake read what is not locked. */
  readonly impure: boolean;
}

export interface NixArgument {
  readonly kind: 'expression' | 'string';
  readonly name: string;
  readonly value: string;
}

export const PLAIN_SETTINGS: NixSettings = { systems: [], arguments: [], searchPath: [], impure: false };

/**
 * The arguments with which `nix eval` finds an installable. Give another `attribute` to look at what is above or beside it.
 * @throws NixferryError `usage` when a flake is given arguments, which it has no use for.
 */
export function installableArguments(
  installable: Installable,
  settings: NixSettings,
  workingDirectory: string,
  system: string | undefined,
): string[] {
  const common = [
    ...(system === undefined ? [] : ['--option', 'system', system]),
    ...settings.searchPath.flatMap((entry) => ['-I', entry]),
    ...settings.arguments.flatMap(({ kind, name, value }) => [kind === 'string' ? '--argstr' : '--arg', name, value]),
  ];
  if (installable.kind === 'file') {
    return [...common, '--file', resolveFile(installable.file, workingDirectory), installable.attribute];
  }
  if (settings.arguments.length > 0) {
    throw new NixferryError(
      'usage',
      `${installable.reference} is a flake output, which takes no --arg and no --argstr`,
      {
        hint: 'these are for -f FILE; let the flake have one output for each value, or use -f',
      },
    );
  }
  return [...common, ...(settings.impure ? ['--impure'] : []), installable.reference];
}

/** A Nix expression for what a file holds; undefined where only Nix's command line understands the name. */
export function fileExpression(file: string, workingDirectory: string): string | undefined {
  if (file.startsWith('<')) return `import ${file}`;
  if (/^(flake|channel):/.test(file)) return undefined;
  if (file.includes('://')) return `import (builtins.fetchTarball ${nixString(file)})`;
  return `import ${nixString(resolveFile(file, workingDirectory))}`;
}

/** `<nixpkgs>` and URLs are for Nix to resolve. */
function resolveFile(file: string, workingDirectory: string): string {
  const isPath = !file.startsWith('<') && !file.includes('://') && !/^(flake|channel):/.test(file);
  return isPath && !isAbsolute(file) ? resolve(workingDirectory, file) : file;
}
