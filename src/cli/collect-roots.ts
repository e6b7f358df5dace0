import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { formatBytes, formatCount, formatNumber } from '../base/amounts.ts';
import { EXIT } from '../base/errors.ts';
import { markWithoutHelpers } from '../base/garbage-collection.ts';
import { chooseCaFiles, readTrustedCertificates } from '../base/http/trusted-certificates.ts';
import { type CollectReport, collect } from '../collect/collect.ts';
import { collectChannels } from '../collect/collect-channels.ts';
import { collectRepositories, type RepositoryProblem } from '../collect/collect-repositories.ts';
import { type Mirror, openMirror } from '../mirror/mirror.ts';
import { type CollectOptions, openCollecting } from './collecting.ts';
import { readCommonOptions } from './common-options.ts';
import { describePlan, describeProblems } from './plan-report.ts';
import { explainNamesOfMirror } from './roots-by-name.ts';
import type { CommandRun } from './run.ts';
import type { OpenedWant } from './want-file.ts';

/** A mirror that is open for writing, with what has just been collected into it. */
export interface Collected extends AsyncDisposable {
  readonly mirror: Mirror;
  readonly report: CollectReport & { readonly repositoryProblems: readonly RepositoryProblem[] };
}

/** Plan, then fetch: the work of `collect`, and the first half of `export`. */
export async function collectRoots(
  texts: readonly string[],
  options: CollectOptions,
  run: CommandRun,
  command: 'nixferry collect' | 'nixferry export',
  want?: OpenedWant,
): Promise<Collected> {
  const { output, signal } = run;
  markWithoutHelpers();
  const { config, mirrorDirectory } = await readCommonOptions(options);
  await using collecting = await openCollecting(texts, options, config, run);
  const named = await explainNamesOfMirror(texts, mirrorDirectory, () => collecting.resolve());
  const { storeDir, jobs } = collecting;
  const mirror = await openMirror(mirrorDirectory, {
    access: 'write',
    create: true,
    storeDir,
    command,
  });
  try {
    for (const warning of mirror.warnings) output.warn(warning);
    const place = { mirror, mirrorDirectory };
    const certificates = await writeCertificates(mirror, options.caFile ?? config.caFile);
    const wanted = [...named, ...((await want?.resolve(collecting, place, certificates)) ?? [])];
    const { onProgress } = output;
    const { roots, problems: lost } = await collectRepositories(wanted, { mirror, onProgress, certificates, signal });
    const plan = await collecting.plan(place, roots);
    output.say(describePlan(plan));
    const trustedKeys = await collecting.trustedKeys(mirror);
    const { upstreams, http } = collecting;
    const report = await collect({
      plan,
      mirror,
      upstreams,
      http,
      trustedKeys,
      supply: await collecting.supply(),
      jobs,
      onProgress,
      signal,
    });
    const { channelsBase } = collecting;
    const recorded = await collectChannels(report.roots, { mirror, http, channelsBase, onProgress, signal });
    onProgress({ type: 'phase', phase: '' });
    return {
      mirror,
      report: { ...report, roots: recorded, repositoryProblems: lost },
      [Symbol.asyncDispose]: () => mirror.close(),
    };
  } catch (error) {
    await mirror.close();
    throw error;
  }
}

/** Git takes its authorities from one file alone. It goes with the other temporary files of the mirror. */
async function writeCertificates({ layout }: Mirror, caFile: string | undefined): Promise<string | undefined> {
  if (caFile === undefined) return undefined;
  const certificates = await readTrustedCertificates(chooseCaFiles(caFile, process.env));
  const { GIT_SSL_CAINFO: gits = '' } = process.env;
  if (gits !== '')
    certificates.push(
      ...(await readTrustedCertificates({ usual: { file: gits, namedBy: 'GIT_SSL_CAINFO' }, additional: undefined })),
    );
  const file = join(layout.tempFolder, 'certificates.pem');
  await writeFile(file, `${certificates.join('\n')}\n`);
  return file;
}

/** Whether there was nothing that could not be had. */
export function isAllHere({ report }: Pick<Collected, 'mirror' | 'report'>): boolean {
  return report.problems.length === 0 && report.repositoryProblems.length === 0;
}

function describeLost({ url, detail, next, blocks }: RepositoryProblem): string {
  const cure = next === undefined ? '' : `\n  ${next}`;
  return `the repository ${url} could not be had:\n  ${detail}\n  without it, not complete: ${blocks.join(', ')}${cure}`;
}

const NEXT = 'do what stands beside each, then type the same command again; what is here is not fetched anew';

/** Says how collecting ended, and sets the exit code: 18 when something could not be had. */
export function endCollect({ mirror, report }: Collected, run: CommandRun): void {
  const { output } = run;
  const fields = {
    mirror: mirror.directory,
    published: report.publishedPaths,
    present: report.presentPaths,
    fetchedBytes: report.fetchedBytes,
    roots: report.roots.map(({ id, name, complete }) => ({ id, name, complete })),
    problems: report.problems,
    repositoryProblems: report.repositoryProblems,
  };
  const done = `${formatCount(report.publishedPaths, 'path')} fetched (${formatBytes(report.fetchedBytes)}), ${formatNumber(report.presentPaths)} here before`;
  if (isAllHere({ mirror, report })) {
    output.say(`complete: ${done}; the mirror is ${mirror.directory}`);
    output.verdict(EXIT.complete, fields);
    return;
  }
  output.say(done);
  const problems = [describeProblems(report.problems), ...report.repositoryProblems.map(describeLost)];
  output.warn(`not complete: ${problems.filter((text) => text !== '').join('\n')}\nnext:  ${NEXT}`);
  run.finish(EXIT.upstreamIncomplete);
  output.verdict(EXIT.upstreamIncomplete, { code: 'upstream-incomplete', ...fields });
}
