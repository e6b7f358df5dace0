import { type Command, InvalidArgumentError, Option } from 'commander';
import { NixferryError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import { recordCachedPath, recordCachedPaths } from '../../mirror/cached-roots.ts';
import { type Mirror, openMirror } from '../../mirror/mirror.ts';
import { nixRootSystem, nixRootsOf } from '../../mirror/nix-root.ts';
import { findRoots, type RootRecord, readRoots } from '../../mirror/roots.ts';
import { NixFormatError } from '../../nix/format-error.ts';
import { parseStorePath } from '../../nix/store-path.ts';
import { chooseBasis } from '../../shipment/choose-basis.ts';
import { lostShipments } from '../../shipment/lost-shipments.ts';
import { parseSequences } from '../../shipment/sequence-ranges.ts';
import { readSince } from '../basis-options.ts';
import { addCommonOptions, readCommonOptions } from '../common-options.ts';
import { addPackOptions, type PackOptions, type PackOrder, packAndReport, readPacking } from '../packing.ts';
import { collectCommand } from '../root-words.ts';
import type { CommandRun } from '../run.ts';

interface PackCommandOptions extends PackOptions {
  readonly lost?: readonly number[];
  readonly cached?: boolean;
}

export function define(command: Command, run: CommandRun): void {
  command.argument(
    '[roots...]',
    'roots as nixferry status names them, or store paths that the mirror has (default: all roots of the mirror)',
  );
  addPackOptions(command).addOption(
    new Option('--lost <numbers>', 'send the share of lost shipments again, such as 4 or 4-6,9; repeat for more')
      .argParser(collectSequences)
      .conflicts(['since', 'full']),
  );
  command.option('--cached', 'also what a caching proxy has fetched (serve --upstream) and no root holds');
  addCommonOptions(command, [
    'nixferry pack --site ship --to /media/stick',
    'nixferry pack --site ship --to /media/stick --since 41    # one way only: 41 is taken to have arrived',
    'nixferry pack --site ship --to /media/stick --lost 41',
    'nixferry pack --site ship --to /media/stick --with-nix   # for machines without Nix, after nixferry get-nix',
    'nixferry pack --site ship --to ./discs --medium dvd      # disc-01, disc-02 …, each to be burnt for itself',
  ]).action((queries: string[], options: PackCommandOptions) => pack(queries, options, run));
}

async function pack(queries: readonly string[], options: PackCommandOptions, run: CommandRun): Promise<void> {
  const { config, mirrorDirectory } = await readCommonOptions(options);
  const packing = await readPacking(options, config);
  await using mirror = await openMirror(mirrorDirectory, { access: 'write', command: 'nixferry pack' });
  for (const warning of mirror.warnings) run.output.warn(warning);
  await packAndReport(mirror, await orderOf(mirror, queries, options, packing.site, run), options, packing, run);
}

async function orderOf(
  mirror: Mirror,
  queries: readonly string[],
  options: PackCommandOptions,
  site: string,
  { output, signal }: CommandRun,
): Promise<PackOrder> {
  if (options.lost === undefined) {
    const cached = options.cached === true ? await recordCachedPaths(mirror) : undefined;
    const named = queries.length === 0 ? await rootsToSend(mirror) : await rootsNamed(mirror, queries);
    const all = uniqueRoots([...named, ...(cached === undefined ? [] : [cached])]);
    const { whole, leftOut } = queries.length === 0 ? onlyComplete(all) : { whole: all, leftOut: [] };
    if (leftOut.length > 0) output.warn(describeLeftOut(leftOut));
    const roots = options.withNix === true ? uniqueRoots([...whole, ...(await nixToSend(mirror))]) : whole;
    return { roots, basis: await chooseBasis(mirror, site, roots, readSince(options), signal), leftOut };
  }
  if (queries.length === 0 && options.withNix !== true) return lostShipments(mirror, site, options.lost, signal);
  throw new NixferryError('usage', '--lost sends what a shipment carried; roots cannot be named beside it', {
    hint: `leave out ${[...queries, ...(options.withNix === true ? ['--with-nix'] : [])].join(' ')}, or --lost`,
  });
}

function collectSequences(text: string, before: readonly number[] | undefined): readonly number[] {
  const sequences = parseSequences(text, LIMITS.shipmentsLost);
  if (sequences !== undefined) return [...(before ?? []), ...sequences];
  throw new InvalidArgumentError('It must be numbers of shipments, such as 4 or 4-6,9.');
}

/** All, but for a Nix that was fetched to evaluate with: that one travels when it is asked for. */
async function rootsToSend(mirror: Mirror): Promise<RootRecord[]> {
  return (await readRoots(mirror)).filter((root) => nixRootSystem(root) === undefined);
}

/** Whoever names no root wants what there is: one that failed once shall not hold up the others. */
function onlyComplete(all: readonly RootRecord[]): { whole: readonly RootRecord[]; leftOut: readonly RootRecord[] } {
  const whole = all.filter(({ complete }) => complete);
  const leftOut = all.filter(({ complete }) => !complete);
  if (whole.length > 0 || leftOut.length === 0) return { whole, leftOut };
  throw new NixferryError('upstream-incomplete', 'no root of this mirror is complete, so there is nothing to pack', {
    hint: `collect them again, or forget those that cannot be had:\n${waysOut(leftOut)}`,
  });
}

function describeLeftOut(leftOut: readonly RootRecord[]): string {
  return `left out, for not complete in this mirror: ${leftOut.map(({ name }) => name).join(', ')}; collect again, or forget:\n${waysOut(leftOut)}`;
}

const SHOWN_LEFT_OUT = 10;

function waysOut(roots: readonly RootRecord[]): string {
  const lines = roots
    .slice(0, SHOWN_LEFT_OUT)
    .flatMap((root) => [`  ${collectCommand(root)}`, `  nixferry rm ${root.id}`]);
  const more = roots.length - SHOWN_LEFT_OUT;
  return [...lines, ...(more > 0 ? [`  ... and ${more} more: see nixferry status`] : [])].join('\n');
}

async function nixToSend(mirror: Mirror): Promise<RootRecord[]> {
  const roots = await nixRootsOf(mirror);
  if (roots.length > 0) return roots;
  throw new NixferryError('bad-root', `the mirror ${mirror.directory} holds no Nix to carry along`, {
    hint: 'fetch one first: nixferry get-nix; for other machines: nixferry get-nix --system aarch64-linux',
  });
}

async function rootsNamed(mirror: Mirror, queries: readonly string[]): Promise<RootRecord[]> {
  const roots: RootRecord[] = [];
  for (const query of queries) {
    const found = await findRoots(mirror, query);
    const cached = found.length === 0 ? await recordIfCached(mirror, query) : undefined;
    if (cached !== undefined) {
      roots.push(cached);
    } else if (found.length === 0) {
      throw new NixferryError('bad-root', `the mirror has no root '${query}'`, {
        hint: `collect it first (nixferry collect ${query}), or see the roots with nixferry status`,
      });
    }
    roots.push(...found);
  }
  return uniqueRoots(roots);
}

/** A store path that the mirror came by otherwise than by collecting, such as from clients of a caching proxy. */
async function recordIfCached(mirror: Mirror, query: string): Promise<RootRecord | undefined> {
  if (!query.startsWith(`${mirror.storeDir}/`)) return undefined;
  try {
    return await recordCachedPath(mirror, parseStorePath(query, mirror.storeDir));
  } catch (error) {
    if (error instanceof NixFormatError) return undefined;
    throw error;
  }
}

function uniqueRoots(roots: readonly RootRecord[]): RootRecord[] {
  return [...new Map(roots.map((root) => [root.id, root])).values()];
}
