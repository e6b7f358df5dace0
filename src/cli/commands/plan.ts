import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { EXIT, NixferryError } from '../../base/errors.ts';
import { type Mirror, openMirror } from '../../mirror/mirror.ts';
import { SCOPES } from '../../mirror/roots.ts';
import { addCollectOptions, type CollectOptions, openCollecting } from '../collecting.ts';
import { addCommonOptions, readCommonOptions } from '../common-options.ts';
import { describePlan, describeProblems, planFields } from '../plan-report.ts';
import { explainNamesOfMirror } from '../roots-by-name.ts';
import type { CommandRun } from '../run.ts';
import { describeScopes, scopeFields, summarizeScopes } from '../scope-table.ts';

export function define(command: Command, run: CommandRun): void {
  addCommonOptions(addCollectOptions(command), [
    'nixferry plan nixpkgs#hello',
    'nixferry plan --scope reconfigure .#nixosConfigurations.web01',
    'nixferry plan --upstream https://cache.nixos.org channel:nixos-26.05',
  ]).action((roots: string[], options: CollectOptions) => planCommand(roots, options, run));
}

async function planCommand(texts: readonly string[], options: CollectOptions, run: CommandRun): Promise<void> {
  const { output } = run;
  const { config, mirrorDirectory } = await readCommonOptions(options);
  await using collecting = await openCollecting(texts, options, config, run);
  const roots = await explainNamesOfMirror(texts, mirrorDirectory, () => collecting.resolve());
  await using mirror = await openIfThere(mirrorDirectory, collecting.storeDir);
  const compare = roots.some(({ targets }) => targets.length > 0) ? SCOPES : [];
  const plan = await collecting.plan({ mirror, mirrorDirectory }, roots, compare);
  const scopes = compare.length === 0 ? [] : summarizeScopes(plan.roots);
  const text = scopes.length === 0 ? describePlan(plan) : `${describePlan(plan)}\n\n${describeScopes(scopes)}`;
  output.result(text, { ...planFields(plan), ...(scopes.length === 0 ? {} : { scopes: scopeFields(scopes) }) });
  if (plan.downloadBytes > plan.freeBytes) {
    throw new NixferryError('no-space', `${mirrorDirectory} is too small for this download`, {
      hint: 'free some room, carry fewer roots at a time, or put the mirror elsewhere with --mirror',
    });
  }
  if (plan.problems.length > 0) {
    output.warn(describeProblems(plan.problems));
    run.finish(EXIT.upstreamIncomplete);
    output.verdict(EXIT.upstreamIncomplete, { code: 'upstream-incomplete', problems: plan.problems.length });
    return;
  }
  output.verdict(EXIT.complete, {});
}

/** The mirror to read, or undefined where it is not made yet: then everything is still to be fetched. */
async function openIfThere(directory: string, storeDir: string): Promise<Mirror | undefined> {
  if (!existsSync(directory)) return undefined;
  try {
    return await openMirror(directory, { access: 'read', storeDir });
  } catch (error) {
    if (error instanceof NixferryError && error.code === 'not-a-mirror') return undefined;
    throw error;
  }
}
