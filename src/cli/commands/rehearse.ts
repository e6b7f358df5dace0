import { resolve } from 'node:path';
import type { Command } from 'commander';
import { EXIT, NixferryError } from '../../base/errors.ts';
import { distinctNames } from '../../mirror/distinct-names.ts';
import { type Mirror, openMirror } from '../../mirror/mirror.ts';
import { makeRehearsalFolder, writeRehearsal } from '../../mirror/rehearsals.ts';
import { findRoots, type RootRecord, readRoots } from '../../mirror/roots.ts';
import { hashPartOf } from '../../nix/index.ts';
import { formatRehearsalLog } from '../../rehearse/rehearsal-log.ts';
import { type Rehearsed, rehearse } from '../../rehearse/rehearse.ts';
import { usualWorkDirectory } from '../../rehearse/room-folder.ts';
import { rootDigest } from '../../shipment/root-digest.ts';
import {
  addCommonOptions,
  type CommonOptions,
  collectValues,
  readCommonOptions,
  wholeNumber,
} from '../common-options.ts';
import { rehearsalOrders } from '../rehearsal-orders.ts';
import { describeRehearsal } from '../rehearsal-report.ts';
import type { CommandRun } from '../run.ts';
import { readVersion } from '../version.ts';

export interface RehearseCommandOptions extends CommonOptions {
  readonly variant?: readonly string[];
  readonly nix?: string;
  readonly workDir?: string;
  readonly sandbox?: boolean;
  readonly share?: readonly string[];
  readonly nixOption?: readonly string[];
  readonly jobs?: number;
}

export function define(command: Command, run: CommandRun): void {
  command
    .argument('[roots...]', 'roots as nixferry status names them (default: all roots of the mirror)')
    .option(
      '--variant <nix>',
      'try this change as well, whether it was collected or not; repeat for more',
      collectValues,
    )
    .option('--nix <path>', 'another Nix: the program, or the folder that nixferry get-nix made')
    .option('--work-dir <dir>', 'where the store of the rehearsal lies meanwhile (default: $TMPDIR, else /var/tmp)')
    .option('--share <dir>', 'show this folder to the evaluation, read-only; repeat for more', collectValues)
    .option('--sandbox', 'insist on a sandbox for builds (default: as the Nix of this machine is set)')
    .option('--no-sandbox', 'build without a sandbox')
    .option('--nix-option <setting>', "a line for nix.conf, such as 'cores = 2'; repeat for more", collectValues)
    .option('--jobs <n>', 'builds at once (default: one for each core)', wholeNumber(1, 1024));
  addCommonOptions(command, [
    'nixferry rehearse',
    'nixferry rehearse web01',
    "nixferry rehearse web01 --variant 'services.openssh.enable = true;'",
  ]).action((queries: string[], options: RehearseCommandOptions) => rehearseRoots(queries, options, run));
}

async function rehearseRoots(
  queries: readonly string[],
  options: RehearseCommandOptions,
  run: CommandRun,
): Promise<void> {
  const { output, signal } = run;
  const { config, mirrorDirectory } = await readCommonOptions(options);
  await using mirror = await openMirror(mirrorDirectory, { access: 'read' });
  const records = await rootsToRehearse(mirror, queries);
  await makeRehearsalFolder(mirror);
  const digests = await digestsOf(mirror, records);
  const rehearsed = await rehearse({
    mirror,
    ...(await rehearsalOrders(records, options, config, mirror)),
    nix: options.nix,
    workDirectory: resolve(options.workDir ?? (await usualWorkDirectory(process.env))),
    sandbox: options.sandbox,
    jobs: options.jobs,
    settings: options.nixOption,
    onProgress: output.onProgress,
    signal,
  });
  output.onProgress({ type: 'phase', phase: '' });
  const kept = await keep(mirror, records, digests, rehearsed);
  const exitCode = rehearsed.verdict === 'complete' ? EXIT.complete : EXIT.partial;
  const report = describeRehearsal(rehearsed, kept.logFile, distinctNames(records));
  if (exitCode === EXIT.complete) output.say(report);
  else output.warn(report);
  run.finish(exitCode);
  output.verdict(exitCode, {
    verdict: rehearsed.verdict,
    nix: rehearsed.nixVersion,
    sandbox: rehearsed.isSandboxed,
    log: kept.logFile,
    logSha256: kept.record.log.sha256,
    roots: rehearsed.roots,
  });
}

async function rootsToRehearse(mirror: Mirror, queries: readonly string[]): Promise<readonly RootRecord[]> {
  const found = new Map<string, RootRecord>();
  for (const query of queries) {
    const records = await findRoots(mirror, query);
    if (records.length === 0) {
      throw new NixferryError('bad-root', `the mirror has no root '${query}'`, {
        hint: `collect it first (nixferry collect ${query}), or see the roots with nixferry status`,
      });
    }
    for (const record of records) found.set(record.id, record);
  }
  const roots = queries.length === 0 ? await readRoots(mirror) : [...found.values()];
  if (roots.length > 0) return roots;
  throw new NixferryError('usage', `the mirror ${mirror.directory} has no roots to rehearse`, {
    hint: 'collect something first: nixferry collect ROOT…',
  });
}

/** What each root consists of now, as a shipment would state it; of paths that are not there, nothing can be said. */
async function digestsOf(mirror: Mirror, records: readonly RootRecord[]): Promise<string[]> {
  const digests: string[] = [];
  for (const { paths } of records) {
    const known = await Promise.all(paths.map((path) => mirror.index.get(hashPartOf(path))));
    digests.push(
      rootDigest(
        paths.flatMap((path, index) => (known[index] === undefined ? [] : [{ path, narHash: known[index].narHash }])),
      ),
    );
  }
  return digests;
}

async function keep(
  mirror: Mirror,
  records: readonly RootRecord[],
  digests: readonly string[],
  rehearsed: Rehearsed,
): ReturnType<typeof writeRehearsal> {
  const generator = `nixferry ${readVersion()}`;
  const roots = records.map((record, index) => ({ record, digest: digests[index] ?? '' }));
  const log = Buffer.from(formatRehearsalLog({ rehearsed, roots, generator }));
  return writeRehearsal(mirror, log, {
    verdict: rehearsed.verdict,
    nix: rehearsed.nixVersion,
    generator,
    ended: new Date().toISOString(),
    roots: roots.map(({ record: { name, request, scope }, digest }) => ({ name, request, scope, digest })),
  });
}
