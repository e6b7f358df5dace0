import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { type Config, loadConfig } from '../config/config.ts';
import { parseSize } from './format.ts';

/** Options that every command takes. */
export interface CommonOptions {
  readonly mirror?: string;
  readonly config?: string;
}

/** Adds the options that every command takes, and the examples that its help ends with. */
export function addCommonOptions(command: Command, examples: readonly string[]): Command {
  EXAMPLES.set(command, examples);
  return command
    .option('--mirror <dir>', 'the mirror (default: $NIXFERRY_MIRROR, nixferry.toml, or the usual place)')
    .option('--config <file>', 'settings (default: ./nixferry.toml where there is one)')
    .option('--json', 'JSON lines on stdout, the verdict last')
    .option('-q, --quiet', 'print only results and errors')
    .addOption(new Option('--debug', 'show where an error comes from').hideHelp())
    .addHelpText(
      'after',
      `\nExample${examples.length === 1 ? '' : 's'}:\n${examples.map((line) => `  ${line}`).join('\n')}`,
    );
}

/** Those that the help of a command ends with. */
export function examplesOf(command: Command): readonly string[] {
  return EXAMPLES.get(command) ?? [];
}

const EXAMPLES = new WeakMap<Command, readonly string[]>();

/** The settings of nixferry.toml and the mirror's folder: flag, then NIXFERRY_MIRROR, then nixferry.toml, then the usual place. */
export async function readCommonOptions(
  options: CommonOptions,
): Promise<{ readonly config: Config; readonly mirrorDirectory: string }> {
  const config = await loadConfig(options.config, process.cwd());
  const chosen = options.mirror ?? process.env['NIXFERRY_MIRROR'] ?? config.mirror ?? usualMirrorDirectory();
  return { config, mirrorDirectory: resolve(chosen) };
}

function usualMirrorDirectory(): string {
  if (process.getuid?.() === 0) return '/var/lib/nixferry';
  const data = process.env['XDG_DATA_HOME'];
  return join(data === undefined || data === '' ? join(homedir(), '.local', 'share') : data, 'nixferry');
}

/** Commander's way of gathering an option that may be repeated. */
export function collectValues(value: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), value];
}

/** Parses a whole number within bounds, for an option. */
export function wholeNumber(least: number, most: number): (value: string) => number {
  return (value) => {
    const number = Number(value);
    if (!/^\d+$/.test(value) || number < least || number > most) {
      throw new InvalidArgumentError(`It must be a whole number from ${least} to ${most}.`);
    }
    return number;
  };
}

/** Parses a size such as 512MiB or 4.7GB, for an option. */
export function sizeInBytes(value: string): number {
  const bytes = parseSize(value);
  if (bytes === undefined || bytes === 0) throw new InvalidArgumentError('It must be a size such as 512MiB or 4.7GB.');
  return bytes;
}
