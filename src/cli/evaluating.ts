import { resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { NixferryError } from '../base/errors.ts';
import { readFileIfExists } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import { quoteForShell } from '../base/shell-word.ts';
import type { Config } from '../config/config.ts';
import type { EvaluationRequest } from '../evaluate/evaluation.ts';
import type { NixArgument, NixSettings } from '../evaluate/evaluation-request.ts';
import { parseVariant, type Variant } from '../evaluate/variant.ts';
import { collectValues } from './common-options.ts';

// What every command shares that has Nix evaluate roots: what Nix is told, and with which changes.

export interface EvaluatingOptions {
  readonly variant?: readonly string[];
  /** False with --no-probes. */
  readonly probes: boolean;
  readonly system?: readonly string[];
  readonly arg?: readonly NixArgument[];
  readonly argstr?: readonly NixArgument[];
  readonly include?: readonly string[];
  readonly impure?: boolean;
}

export function addEvaluatingOptions(command: Command): Command {
  return command
    .option(
      '--variant <settings>',
      "a change to carry as well: 'programs.fish.enable = true;', a module, or a file; repeat for more",
      collectValues,
    )
    .option('--no-probes', 'for NixOS: without the built-in changes (hostname, user, fish and so on)')
    .option('--system <system>', 'evaluate for this kind of machine, as aarch64-linux; repeat for more', readSystem)
    .option('--arg <name expression>', 'with -f: an argument of the function in the file', readArgument('expression'))
    .option('--argstr <name text>', 'with -f: the same, with the text as it is', readArgument('string'))
    .option(
      '-I, --include <path>',
      'where Nix looks for <NAME>, as nixpkgs=/home/anna/nixpkgs; repeat for more',
      collectValues,
    )
    .option('--impure', 'let flakes read what is not locked');
}

/** What to tell Nix, and the changes of flags and nixferry.toml. */
export async function readEvaluating(
  options: EvaluatingOptions,
  config: Config,
): Promise<Omit<EvaluationRequest, 'installable'>> {
  const typed = (options.variant ?? []).map((text) => readVariant(text, undefined, false));
  const standing = config.variants.map(({ name, source }) => readVariant(source, name, true));
  return {
    variants: await Promise.all([...typed, ...standing]),
    probes: options.probes && (config.probes ?? true),
    settings: {
      systems: options.system ?? [],
      arguments: [...(options.arg ?? []), ...(options.argstr ?? [])],
      searchPath: options.include ?? [],
      impure: options.impure ?? false,
    },
  };
}

/** What was told to Nix as it is typed: with it, a root is another one than without. Empty, or beginning with a space. */
export function describeSettings(settings: NixSettings): string {
  const words = [
    ...settings.systems.flatMap((system) => ['--system', system]),
    ...settings.searchPath.flatMap((entry) => ['-I', entry]),
    ...settings.arguments.flatMap(({ kind, name, value }) => [kind === 'string' ? '--argstr' : '--arg', name, value]),
    ...(settings.impure ? ['--impure'] : []),
  ];
  return words.map((word) => ` ${quoteForShell(word)}`).join('');
}

function readArgument(kind: NixArgument['kind']): (text: string, before?: readonly NixArgument[]) => NixArgument[] {
  return (text, before = []) => {
    const end = text.indexOf('=');
    const name = text.slice(0, end);
    if (!/^[A-Za-z_][\w'-]*$/.test(name)) {
      throw new InvalidArgumentError('It takes the name of an argument and then its value, as two words.');
    }
    return [...before, { kind, name, value: text.slice(end + 1) }];
  };
}

function readSystem(text: string, before: readonly string[] | undefined): readonly string[] {
  if (!/^[a-z0-9_]+-[a-z0-9_]+$/.test(text)) throw new InvalidArgumentError('It must be like x86_64-linux.');
  return [...new Set(collectValues(text, before))];
}

/** A variant that is the path of a file stands for what is in it. */
async function readVariant(text: string, name: string | undefined, isStanding: boolean): Promise<Variant> {
  const trimmed = text.trim();
  const isFile = /^(\.{1,2})?\/\S+$/.test(trimmed);
  const source = isFile ? await readVariantFile(resolve(trimmed)) : text;
  const variant = parseVariant(source, name ?? (isFile ? trimmed : undefined));
  return isStanding ? { ...variant, isStanding } : variant;
}

async function readVariantFile(file: string): Promise<string> {
  const bytes = await readFileIfExists(file, LIMITS.variantBytes);
  if (bytes !== undefined) return bytes.toString('utf8');
  throw new NixferryError('usage', `there is no file ${file} for a variant`, {
    hint: "name a file with a module, or write settings, as in --variant 'programs.fish.enable = true;'",
  });
}
