import type { Command } from 'commander';
import { collectRoots, endCollect } from '../collect-roots.ts';
import { addCollectOptions, type CollectOptions } from '../collecting.ts';
import { addCommonOptions } from '../common-options.ts';
import type { CommandRun } from '../run.ts';

export function define(command: Command, run: CommandRun): void {
  addCommonOptions(addCollectOptions(command), [
    'nixferry collect nixpkgs#hello',
    'nixferry collect --upstream https://cache.nixos.org /nix/var/nix/profiles/system',
    'nix-store -qR ./result | nixferry collect -',
  ]).action(async (texts: string[], options: CollectOptions) => {
    await using collected = await collectRoots(texts, options, run, 'nixferry collect');
    endCollect(collected, run);
  });
}
