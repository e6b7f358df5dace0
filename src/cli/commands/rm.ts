import type { Command } from 'commander';
import { formatCount } from '../../base/amounts.ts';
import { EXIT, NixferryError } from '../../base/errors.ts';
import { openMirror } from '../../mirror/mirror.ts';
import { type RootRecord, readRoots, removeRoot, rootsMeantBy } from '../../mirror/roots.ts';
import { addCommonOptions, type CommonOptions, readCommonOptions } from '../common-options.ts';
import type { CommandRun } from '../run.ts';

export function define(command: Command, run: CommandRun): void {
  command.argument('<roots...>', 'roots as nixferry status names them, or their ids');
  addCommonOptions(command, ['nixferry rm web01']).action((queries: string[], options: CommonOptions) =>
    rm(queries, options, run),
  );
}

/** Forgets all of them, or none: what is meant is known before the first one goes. */
async function rm(queries: readonly string[], options: CommonOptions, { output }: CommandRun): Promise<void> {
  const { mirrorDirectory } = await readCommonOptions(options);
  await using mirror = await openMirror(mirrorDirectory, { access: 'write', command: 'nixferry rm' });
  for (const warning of mirror.warnings) output.warn(warning);
  const roots = await readRoots(mirror);
  const meant = new Map(queries.map((query) => onlyOne(roots, query)).map((root) => [root.id, root]));
  for (const id of meant.keys()) await removeRoot(mirror, id);
  const removed = [...meant.values()];
  output.say(
    [
      ...removed.map(({ name, request }) => `forgotten: ${name}${request === name ? '' : ` (${request})`}`),
      `complete: ${formatCount(removed.length, 'root')} forgotten; the paths stay in the mirror until garbage is collected`,
    ].join('\n'),
  );
  output.verdict(EXIT.complete, { removed: removed.map(({ id, name, request }) => ({ id, name, request })) });
}

function onlyOne(roots: readonly RootRecord[], query: string): RootRecord {
  const byId = roots.find(({ id }) => id === query);
  const found = byId === undefined ? rootsMeantBy(query, roots) : [byId];
  const [first, ...others] = found;
  if (first === undefined) {
    throw new NixferryError('bad-root', `the mirror has no root '${query}'`, {
      hint: 'see the roots with nixferry status',
    });
  }
  if (others.length === 0) return first;
  const lines = found.map(({ id, request, scope }) => `  nixferry rm ${id}    # ${request}, scope ${scope}`);
  throw new NixferryError('bad-root', `'${query}' may be any of ${found.length} roots; nothing was forgotten`, {
    hint: `name it by its id:\n${lines.join('\n')}`,
  });
}
