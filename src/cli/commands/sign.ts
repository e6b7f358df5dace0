import type { Command } from 'commander';
import { NixferryError } from '../../base/errors.ts';
import { openMirror } from '../../mirror/mirror.ts';
import { signPaths } from '../../mirror/sign-paths.ts';
import type { HashPart } from '../../nix/index.ts';
import { addCommonOptions, type CommonOptions, readCommonOptions } from '../common-options.ts';
import { hashPartIn, noStorePath } from '../path-word.ts';
import type { CommandRun } from '../run.ts';
import { reportSigned, signAll } from '../signing.ts';

interface SignOptions extends CommonOptions {
  readonly all?: boolean;
}

export function define(command: Command, run: CommandRun): void {
  command
    .argument('[paths...]', 'store paths of the mirror, links to them, or their 32 digits')
    .option('--all', 'everything that clients of the mirror see');
  addCommonOptions(command, ['nixferry sign --all', 'nixferry sign ./result']).action(
    (paths: string[], options: SignOptions) => sign(paths, options, run),
  );
}

async function sign(paths: readonly string[], options: SignOptions, run: CommandRun): Promise<void> {
  const { output, signal } = run;
  if (paths.length > 0 === (options.all === true)) {
    throw new NixferryError('usage', 'nothing says what is to be signed, or two things do', {
      hint: 'name store paths, or write --all, and not both',
    });
  }
  const hashParts = await Promise.all(paths.map(readPath));
  const { mirrorDirectory } = await readCommonOptions(options);
  await using mirror = await openMirror(mirrorDirectory, { access: 'write', command: 'nixferry sign' });
  for (const warning of mirror.warnings) output.warn(warning);
  const result =
    options.all === true
      ? await signAll(mirror, run)
      : await signPaths(mirror, hashParts, { signal, onProgress: output.onProgress });
  const exitCode = reportSigned(result, run);
  run.finish(exitCode);
  output.verdict(exitCode, { ...result });
}

async function readPath(text: string): Promise<HashPart> {
  const hashPart = await hashPartIn(text);
  if (hashPart !== undefined) return hashPart;
  throw noStorePath(text);
}
