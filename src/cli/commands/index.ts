import type { Command } from 'commander';
import { formatCount } from '../../base/amounts.ts';
import { EXIT, NixferryError } from '../../base/errors.ts';
import { rebuildIndex } from '../../mirror/index-rebuild.ts';
import { openMirror } from '../../mirror/mirror.ts';
import { restoreRepositories } from '../../mirror/repositories.ts';
import { addCommonOptions, type CommonOptions, readCommonOptions } from '../common-options.ts';
import type { CommandRun } from '../run.ts';

interface IndexOptions extends CommonOptions {
  readonly rebuild?: boolean;
}

export function define(command: Command, run: CommandRun): void {
  command.option('--rebuild', 'make the index anew from the files of the mirror');
  addCommonOptions(command, ['nixferry index --rebuild']).action((options: IndexOptions) => rebuild(options, run));
}

async function rebuild(options: IndexOptions, { output, signal }: CommandRun): Promise<void> {
  if (options.rebuild !== true) {
    throw new NixferryError('usage', 'index does one thing, and wants it said', {
      hint: 'type: nixferry index --rebuild',
    });
  }
  const { mirrorDirectory } = await readCommonOptions(options);
  await using mirror = await openMirror(mirrorDirectory, { access: 'write', command: 'nixferry index' });
  const { onProgress } = output;
  const { paths } = await rebuildIndex(mirror, { onProgress, signal });
  const { places, problems } = await restoreRepositories(mirror, { signal });
  onProgress({ type: 'phase', phase: '' });
  for (const problem of problems) output.warn(problem);
  output.say(
    `the index of ${mirror.directory} is made anew: ${formatCount(paths, 'path')}${places.length === 0 ? '' : `, and ${places.length === 1 ? '1 repository' : `${places.length} repositories`}`}`,
  );
  output.verdict(EXIT.complete, { paths, repositories: places });
}
