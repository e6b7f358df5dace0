import { resolve } from 'node:path';
import type { Command } from 'commander';
import { EXIT, NixferryError } from '../../base/errors.ts';
import { createHttpClient } from '../../base/http-client.ts';
import { runNix } from '../../evaluate/nix-command.ts';
import { findInputsList } from '../../site/find-inputs-list.ts';
import { type RelockResult, relock } from '../../site/relock.ts';
import { addCommonOptions, type CommonOptions, readCommonOptions } from '../common-options.ts';
import { mirrorsOfNix } from '../mirrors-of-nix.ts';
import type { CommandRun } from '../run.ts';
import { httpOptions } from '../upstream-options.ts';

interface RelockCommandOptions extends CommonOptions {
  readonly flake: string;
  readonly url?: string;
  readonly netrcFile?: string;
  readonly caFile?: string;
}

export function define(command: Command, run: CommandRun): void {
  command
    .argument('[inputs...]', 'inputs of the flake (default: all)')
    .option('--flake <dir>', 'folder of the flake', '.')
    .option('--url <url>', 'the mirror as it is served (default: the substituters of Nix here)')
    .option('--netrc-file <file>', 'passwords for the mirror (default: ~/.netrc)')
    .option('--ca-file <file>', 'certificates to trust besides the usual ones');
  addCommonOptions(command, ['nixferry relock', 'nixferry relock nixpkgs --flake /etc/nixos']).action(
    (inputs: string[], options: RelockCommandOptions) => relockCommand(inputs, options, run),
  );
}

async function relockCommand(inputs: string[], options: RelockCommandOptions, run: CommandRun): Promise<void> {
  const { output, signal } = run;
  const { config } = await readCommonOptions(options);
  await using http = createHttpClient(httpOptions(options, config));
  const places = options.url === undefined ? await mirrorsOfNix(signal) : [options.url];
  const { where, list } = await findInputsList(places, { http, signal });
  if (!/^https?:/i.test(where)) {
    throw new NixferryError('usage', `${where} is a folder, and Nix takes sources from a server`, {
      hint: 'name the mirror as nixferry serve serves it: --url http://ferry:8080',
    });
  }
  const directory = resolve(options.flake);
  const result = await relock({
    directory,
    inputs,
    list,
    url: where,
    runNix: (program, args, purpose) => runNix(program, args, { purpose, signal }),
  });
  output.say(describe(result));
  for (const name of result.unresolved) {
    output.warn(`${name} stays as it is: no shipment has brought what the flake asks for under that name`);
  }
  const exitCode = result.unresolved.length === 0 ? EXIT.complete : EXIT.partial;
  run.finish(exitCode);
  output.verdict(exitCode, { flake: directory, ...result });
}

function describe({ changed, unchanged }: RelockResult): string {
  const lines = changed.map(({ name, from, to }) => `${name}: ${from?.slice(0, 16) ?? 'new'} → ${to.slice(0, 16)}`);
  if (unchanged.length > 0) lines.push(`at the newest revision that was shipped: ${unchanged.join(', ')}`);
  return lines.length === 0 ? 'nothing to lock anew' : lines.join('\n');
}
