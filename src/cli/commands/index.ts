import type { Command } from 'commander';
import { EXIT, NixferryError } from '../../base/errors.ts';
import { openMirror } from '../../mirror/mirror.ts';
import { addCommonOptions, type CommonOptions, readCommonOptions } from '../common-options.ts';
import { formatCount } from '../format.ts';
import type { CommandRun } from '../run.ts';

interface IndexOptions extends CommonOptions {
  readonly rebuild?: boolean;
}

export function define(command: Command, run: CommandRun): void {
  command.option('--rebuild', 'make the index anew from the narinfo files');
  addCommonOptions(command, ['nixferry index --rebuild']).action((options: IndexOptions) => rebuild(options, run));
}

async function rebuild(options: IndexOptions, { output }: CommandRun): Promise<void> {
  if (options.rebuild !== true) {
    throw new NixferryError('usage', 'index does one thing, and wants it said', {
      hint: 'type: nixferry index --rebuild',
    });
  }
  const { mirrorDirectory } = await readCommonOptions(options);
  await using mirror = await openMirror(mirrorDirectory, { access: 'write', command: 'nixferry index' });
  await mirror.index.rebuild();
  const { paths } = await mirror.index.totals();
  output.say(`the index of ${mirror.directory} is made anew: ${formatCount(paths, 'path')}`);
  output.verdict(EXIT.complete, { paths });
}
