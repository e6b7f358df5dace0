import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { EXIT } from '../../base/errors.ts';
import { quoteForShell } from '../../base/shell-word.ts';
import { readMirrorPublicKey } from '../../mirror/keys.ts';
import { privateLayout } from '../../mirror/layout.ts';
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
  const place = { directory: mirrorDirectory };
  const before = existsSync(privateLayout(mirrorDirectory).formatFile) ? await readMirrorPublicKey(place) : undefined;
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
  if (before === undefined) output.say(`The mirror is ${mirror.directory}; it signs with the key`);
  else output.say(`The mirror ${mirror.directory} is there already, and nothing was changed. It signs with the key`);
  output.result(publicKey, {
    mirror: mirror.directory,
    storeDir: mirror.storeDir,
    publicKey,
    created: before === undefined,
  });
  if (before !== undefined && options.keyName !== undefined && options.keyName !== before.name) {
    output.warn(
      `its key is not named ${options.keyName}\nnext:  to change it: nixferry keys rotate --name ${quoteForShell(options.keyName)}`,
    );
  }
  output.verdict(EXIT.complete, {});
}
