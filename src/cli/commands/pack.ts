import type { Command } from 'commander';
import { NixferryError } from '../../base/errors.ts';
import { type Mirror, openMirror } from '../../mirror/mirror.ts';
import { findRoots, type RootRecord, readRoots } from '../../mirror/roots.ts';
import { addCommonOptions, readCommonOptions } from '../common-options.ts';
import { addPackOptions, type PackOptions, packAndReport, readPacking } from '../packing.ts';
import type { CommandRun } from '../run.ts';

export function define(command: Command, run: CommandRun): void {
  command.argument('[roots...]', 'roots as nixferry status names them (default: all roots of the mirror)');
  addCommonOptions(addPackOptions(command), [
    'nixferry pack --site ship --to /media/stick',
    'nixferry pack --site ship --to ./discs --medium dvd      # disc-01, disc-02 …, each to be burnt for itself',
  ]).action((queries: string[], options: PackOptions) => pack(queries, options, run));
}

async function pack(queries: readonly string[], options: PackOptions, run: CommandRun): Promise<void> {
  const { config, mirrorDirectory } = await readCommonOptions(options);
  const packing = await readPacking(options, config);
  await using mirror = await openMirror(mirrorDirectory, { access: 'write', command: 'nixferry pack' });
  for (const warning of mirror.warnings) run.output.warn(warning);
  const roots = queries.length === 0 ? await readRoots(mirror) : await rootsNamed(mirror, queries);
  await packAndReport(mirror, roots, options, packing, run);
}

async function rootsNamed(mirror: Mirror, queries: readonly string[]): Promise<RootRecord[]> {
  const roots = new Map<string, RootRecord>();
  for (const query of queries) {
    const found = await findRoots(mirror, query);
    if (found.length === 0) {
      throw new NixferryError('bad-root', `the mirror has no root '${query}'`, {
        hint: `collect it first (nixferry collect ${query}), or see the roots with nixferry status`,
      });
    }
    for (const root of found) roots.set(root.id, root);
  }
  return [...roots.values()];
}
