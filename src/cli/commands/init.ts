import type { Command } from 'commander';
import { EXIT } from '../../base/errors.ts';
import { openMirror } from '../../mirror/mirror.ts';
import { formatPublicKey } from '../../nix/index.ts';
import { addCommonOptions, type CommonOptions, readCommonOptions } from '../common-options.ts';
import type { CommandRun } from '../run.ts';

interface InitOptions extends CommonOptions {
  readonly keyName?: string;
  readonly storeDir?: string;
  readonly adopt?: boolean;
}

export function define(command: Command, run: CommandRun): void {
  command
    .option('--key-name <name>', 'name of the key (default: the name of the host and six digits)')
    .option('--adopt', 'make a mirror of a plain binary cache that is there already')
    .option('--store-dir <dir>', 'the store folder that its paths have (default: /nix/store)');
  addCommonOptions(command, ['nixferry init --mirror /srv/nixferry --key-name ship-1']).action((options: InitOptions) =>
    init(options, run),
  );
}

async function init(options: InitOptions, { output }: CommandRun): Promise<void> {
  const { mirrorDirectory } = await readCommonOptions(options);
  await using mirror = await openMirror(mirrorDirectory, {
    access: 'write',
    create: true,
    adopt: options.adopt === true,
    command: 'nixferry init',
    ...(options.keyName === undefined ? {} : { keyName: options.keyName }),
    ...(options.storeDir === undefined ? {} : { storeDir: options.storeDir }),
  });
  for (const warning of mirror.warnings) output.warn(warning);
  const publicKey = formatPublicKey(mirror.publicKey);
  output.say(`The mirror is ${mirror.directory}; it signs with the key`);
  output.result(publicKey, { mirror: mirror.directory, storeDir: mirror.storeDir, publicKey });
  output.verdict(EXIT.complete, {});
}
