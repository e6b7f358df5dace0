import type { Command } from 'commander';
import { formatCount } from '../../base/amounts.ts';
import { EXIT } from '../../base/errors.ts';
import type { Config } from '../../config/config.ts';
import { currentSystem } from '../../evaluate/private-nix.ts';
import type { Mirror } from '../../mirror/mirror.ts';
import { nixRootsOf } from '../../mirror/nix-root.ts';
import type { RootRecord } from '../../mirror/roots.ts';
import { chooseBasis } from '../../shipment/choose-basis.ts';
import { readSince } from '../basis-options.ts';
import { checkFields, countMissing, describeCheckedRoot, shownNames } from '../check-report.ts';
import { checkAll, requestOfRecord } from '../checking.ts';
import { collectRoots, endCollect, isAllHere } from '../collect-roots.ts';
import { addCollectOptions, type CollectOptions } from '../collecting.ts';
import { addCommonOptions, readCommonOptions } from '../common-options.ts';
import { fetchNix } from '../nix-along.ts';
import { addPackOptions, type PackOptions, packAndReport, readPacking } from '../packing.ts';
import type { CommandRun } from '../run.ts';

type ExportOptions = CollectOptions & PackOptions;

export function define(command: Command, run: CommandRun): void {
  addCommonOptions(addPackOptions(addCollectOptions(command)), [
    'nixferry export nixpkgs#hello --site ship --to /media/stick',
    'nixferry export nixpkgs#hello --site ship --to ./discs --medium bd25',
    'nixferry export .#nixosConfigurations.web01 --site ship --to /media/stick    # and changes of it',
    'nixferry export --file default.nix --attr web --site plant-7 --to ./medium',
  ]).action((texts: string[], options: ExportOptions) => exportRoots(texts, options, run));
}

/** The one button: collect, check, and pack what was asked for if nothing of it is missing. */
async function exportRoots(texts: readonly string[], options: ExportOptions, run: CommandRun): Promise<void> {
  const { config } = await readCommonOptions(options);
  const packing = await readPacking(options, config);
  await using collected = await collectRoots(texts, options, run, 'nixferry export');
  if (!isAllHere(collected)) {
    endCollect(collected, run);
    run.output.warn('nothing was packed');
    return;
  }
  const { mirror, report } = collected;
  if (!(await checkCollected(mirror, report.roots, run))) return;
  const roots =
    options.withNix === true ? [...report.roots, ...(await nixFor(mirror, options, config, run))] : report.roots;
  const basis = await chooseBasis(mirror, packing.site, roots, readSince(options), run.signal);
  await packAndReport(mirror, { roots, basis }, options, packing, run);
}

/** Whether clients of the other side, which trust what the mirror signs, can have all of it; says what they cannot have. */
async function checkCollected(mirror: Mirror, roots: readonly RootRecord[], run: CommandRun): Promise<boolean> {
  const { output, signal } = run;
  const requests = roots.map((root) => requestOfRecord(root, mirror.storeDir));
  const checked = await checkAll(requests, { mirror, keys: [mirror.publicKey], onProgress: output.onProgress, signal });
  const missing = countMissing(checked);
  const names = shownNames(checked);
  for (const [index, root] of checked.entries()) {
    output.event('root', checkFields(root));
    if (output.json) continue;
    if (root.result.missing.length > 0) output.warn(describeCheckedRoot(root, names[index]));
    else if (root.result.judged !== 'paths') output.say(describeCheckedRoot(root, names[index]));
  }
  if (missing === 0) return true;
  output.warn(`clients could not have everything: ${formatCount(missing, 'path')} missing; nothing was packed`);
  run.finish(EXIT.upstreamIncomplete);
  output.verdict(EXIT.upstreamIncomplete, { code: 'upstream-incomplete', missing });
  return false;
}

/** Those that get-nix has brought; the usual one for this kind of machine where there is none yet. */
async function nixFor(mirror: Mirror, options: ExportOptions, config: Config, run: CommandRun): Promise<RootRecord[]> {
  const roots = await nixRootsOf(mirror);
  if (roots.length > 0) return roots;
  const { root } = await fetchNix(mirror, { which: undefined, system: currentSystem() }, options, config, run);
  return [root];
}
