import { existsSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { EXIT } from '../../base/errors.ts';
import { readValidPublicKeys } from '../../mirror/key-rotation.ts';
import { openMirror } from '../../mirror/mirror.ts';
import type { AddressRewrite } from '../../mirror/repository-address.ts';
import { readRoots } from '../../mirror/roots.ts';
import { formatPublicKey } from '../../nix/index.ts';
import { CLIENT_CONFIG_FORMATS, type ClientConfigFormat, formatClientConfig } from '../../site/client-config.ts';
import { rewritesOf } from '../../site/git-settings.ts';
import { addCommonOptions, type CommonOptions, collectValues, readCommonOptions } from '../common-options.ts';
import type { CommandRun } from '../run.ts';

interface ClientConfigCommandOptions extends CommonOptions {
  readonly format: ClientConfigFormat;
  readonly url: string;
  readonly publicKey?: readonly string[];
  readonly flakes?: boolean;
}

export function define(command: Command, run: CommandRun): void {
  command
    .addOption(
      new Option('--format <format>', 'what to paste it into').choices(CLIENT_CONFIG_FORMATS).default('nix-conf'),
    )
    .requiredOption('--url <url>', 'where the clients reach the mirror, such as http://ferry:8080')
    .option(
      '--public-key <key>',
      'key to trust (default: that of the mirror here, and its former ones while they sign); repeat for more',
      collectValues,
    )
    .option('--flakes', 'the clients use flakes');
  addCommonOptions(command, [
    'nixferry client-config --format nixos --url http://ferry:8080',
    'nixferry client-config --format shell --url http://ferry:8080 > nixferry-env.sh',
  ]).action((options: ClientConfigCommandOptions) => clientConfig(options, run));
}

async function clientConfig(options: ClientConfigCommandOptions, { output }: CommandRun): Promise<void> {
  const { format, url } = options;
  const publicKeys = options.publicKey ?? (await readOwnKeys(options));
  const gitRewrites = await readRewrites(options);
  const text = formatClientConfig({ format, url, publicKeys, flakes: options.flakes === true, gitRewrites });
  output.result(text.trimEnd(), { format, url, publicKeys, text });
  output.verdict(EXIT.complete, {});
}

async function readOwnKeys(options: CommonOptions): Promise<readonly string[]> {
  const { mirrorDirectory } = await readCommonOptions(options);
  await using mirror = await openMirror(mirrorDirectory, { access: 'read' });
  // Asked for the one that every mirror has, so that a plain cache is refused in its own words.
  const own = mirror.publicKey;
  const former = (await readValidPublicKeys(mirror)).filter(({ name }) => name !== own.name);
  return [own, ...former].map(formatPublicKey);
}

/** For the repositories of the mirror here. */
async function readRewrites(options: ClientConfigCommandOptions): Promise<AddressRewrite[]> {
  const { mirrorDirectory } = await readCommonOptions(options);
  return existsSync(mirrorDirectory) ? rewritesOf(await readRoots({ directory: mirrorDirectory })) : [];
}
