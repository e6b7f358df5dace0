import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { EXIT, NixferryError } from '../../base/errors.ts';
import { currentSystem, type PrivateNix, privateNixFolder, readPrivateNix } from '../../evaluate/private-nix.ts';
import { DEFAULT_NIX, DEFAULT_RELEASES_BASE } from '../../get-nix/choose-nix.ts';
import { placeNix } from '../../get-nix/place-nix.ts';
import { openMirror } from '../../mirror/mirror.ts';
import { baseNameOf } from '../../nix/index.ts';
import { closureInMirror } from '../../store/mirror-closure.ts';
import { DEFAULT_CHANNELS_BASE } from '../../upstream/channel.ts';
import { addCommonOptions, readCommonOptions, wholeNumber } from '../common-options.ts';
import { fetchNix, type NixOptions } from '../nix-along.ts';
import type { CommandRun } from '../run.ts';
import { addUpstreamOptions } from '../upstream-options.ts';

interface GetNixOptions extends NixOptions {
  readonly system?: string;
}

export function define(command: Command, run: CommandRun): void {
  command
    .argument('[which]', `a version, channel:NAME, a store path, or an address such as ${DEFAULT_NIX} (the default)`)
    .usage('[options] [which] [-- command...]')
    .allowExcessArguments()
    .option(
      '--system <system>',
      `the kind of machine that it is for, to be carried along (default: ${currentSystem()})`,
    )
    .option('--releases-base <url>', `where releases of Nix are looked for (default: ${DEFAULT_RELEASES_BASE})`)
    .option('--channels-base <url>', `where channel:NAME is looked for (default: ${DEFAULT_CHANNELS_BASE})`)
    .option('--jobs <n>', 'transfers at once', wholeNumber(1, 1024));
  addUpstreamOptions(command, 'binary cache to copy from; repeat for more, asked in order');
  addCommonOptions(command, [
    'nixferry get-nix',
    'nixferry get-nix 2.31.2',
    'nixferry get-nix -- nix --version               # the one that was brought; first brings one if there is none',
    'nixferry get-nix channel:nixos-26.05 --system aarch64-linux   # for pack --with-nix',
  ]).action((_which: string | undefined, options: GetNixOptions) => getNix(command, options, run));
}

/** Brings a Nix, unless only a command is given and one is there; then runs the command with it. */
async function getNix(command: Command, options: GetNixOptions, run: CommandRun): Promise<void> {
  const { which, words } = splitArguments(command);
  const known = which === undefined && words.length > 0 ? readPrivateNix() : undefined;
  const nix = known ?? (await bringNix(which, options, words.length > 0, run));
  if (nix === undefined) return;
  if (words.length > 0) run.finish(await runWith(nix, words, run.signal));
}

/** What stands behind `--` is not for us. */
function splitArguments(command: Command): { readonly which: string | undefined; readonly words: readonly string[] } {
  const { rawArgs } = (command.parent ?? command) as unknown as { readonly rawArgs: readonly string[] };
  const dashes = rawArgs.indexOf('--');
  const words = dashes === -1 ? [] : rawArgs.slice(dashes + 1);
  const before = command.args.slice(0, command.args.length - words.length);
  if (before.length > 1) {
    throw new NixferryError('usage', `get-nix brings one Nix, not ${before.join(' and ')}`, {
      hint: 'a command to run goes behind --, as in: nixferry get-nix -- nix --version',
    });
  }
  return { which: before[0], words };
}

/** Undefined when it is for another kind of machine: then it is in the mirror only. */
async function bringNix(
  which: string | undefined,
  options: GetNixOptions,
  isForCommand: boolean,
  run: CommandRun,
): Promise<PrivateNix | undefined> {
  const { output, signal } = run;
  const system = options.system ?? currentSystem();
  const { config, mirrorDirectory } = await readCommonOptions(options);
  await using mirror = await openMirror(mirrorDirectory, {
    access: 'write',
    create: true,
    command: 'nixferry get-nix',
  });
  for (const warning of mirror.warnings) output.warn(warning);
  const { storePath } = await fetchNix(mirror, { which, system }, options, config, run);
  if (system !== currentSystem()) {
    output.say(
      `complete: ${storePath} is in the mirror ${mirror.directory}; nixferry pack --with-nix carries it along`,
    );
    output.verdict(EXIT.complete, { storePath, system });
    return undefined;
  }
  const closure = await closureInMirror(mirror, [storePath]);
  const folder = privateNixFolder();
  const nix = await placeNix({ closure, storePath, system, folder, onProgress: output.onProgress, signal });
  output.onProgress({ type: 'phase', phase: '' });
  if (isForCommand) return nix;
  output.say(
    [
      `complete: Nix ${nix.version} (${baseNameOf(storePath)}) is in ${folder}; nothing was installed`,
      'plan, collect and export use it where no Nix is installed, or one that is too old',
      'next: nixferry get-nix -- nix --version, or any other command',
    ].join('\n'),
  );
  output.verdict(EXIT.complete, { storePath, system, version: nix.version, folder });
  return nix;
}

/** The exit code of the command, which gets this terminal. */
function runWith({ folder }: PrivateNix, words: readonly string[], signal: AbortSignal): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const child = spawn(join(folder, 'enter'), [...words], { stdio: 'inherit', signal, killSignal: 'SIGTERM' });
  child.on('error', reject);
  child.on('close', (code, killedBy) => {
    resolve(code ?? SIGNAL_EXIT_BASE + (killedBy === null ? 0 : constants.signals[killedBy]));
  });
  return promise;
}

/** As shells do. */
const SIGNAL_EXIT_BASE = 128;
