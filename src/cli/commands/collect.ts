import type { Command } from 'commander';
import { collectRoots, endCollect } from '../collect-roots.ts';
import { addCollectOptions, type CollectOptions } from '../collecting.ts';
import { addCommonOptions, collectValues, readCommonOptions } from '../common-options.ts';
import type { CommandRun } from '../run.ts';
import { readPublicKey } from '../upstream-options.ts';
import { openWant } from '../want-file.ts';

interface CollectCommandOptions extends CollectOptions {
  readonly trust?: readonly string[];
}

export function define(command: Command, run: CommandRun): void {
  addCommonOptions(addCollectOptions(command), [
    'nixferry collect nixpkgs#hello',
    'nixferry collect --upstream https://cache.nixos.org /nix/var/nix/profiles/system',
    'nix-store -qR ./result | nixferry collect -',
    'nixferry collect --want /media/stick/want-lab.nixferry',
  ])
    .option('--want <file>', 'what clients of a site asked for: the file that nixferry want wrote there')
    .option(
      '--trust <key>',
      'with --want: key of the site, name:base64, where no receipt of it is known',
      collectValues,
    )
    .action((texts: string[], options: CollectCommandOptions) => collectCommand(texts, options, run));
}

async function collectCommand(texts: string[], options: CollectCommandOptions, run: CommandRun): Promise<void> {
  if (options.want === undefined) {
    await using collected = await collectRoots(texts, options, run, 'nixferry collect');
    endCollect(collected, run);
    return;
  }
  const { mirrorDirectory } = await readCommonOptions(options);
  await using want = await openWant(options.want, mirrorDirectory, (options.trust ?? []).map(readPublicKey), run);
  const withFolder = { ...options, derivations: [...(options.derivations ?? []), want.folder] };
  await using collected = await collectRoots(texts, withFolder, run, 'nixferry collect', want);
  endCollect(collected, run);
}
