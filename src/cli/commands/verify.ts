import type { Command } from 'commander';
import { formatCount } from '../../base/amounts.ts';
import { ERROR_TABLE, type ErrorCode, EXIT } from '../../base/errors.ts';
import { createHttpClient } from '../../base/http-client.ts';
import { refetchFrom } from '../../collect/refetch.ts';
import type { Config } from '../../config/config.ts';
import { type Mirror, openMirror } from '../../mirror/mirror.ts';
import { restoreRepositories } from '../../mirror/repositories.ts';
import { type VerifyResult, verifyMirror } from '../../mirror/verify.ts';
import { openUpstreams } from '../../upstream/upstream-set.ts';
import { addCommonOptions, type CommonOptions, readCommonOptions, wholeNumber } from '../common-options.ts';
import type { CommandRun } from '../run.ts';
import { addUpstreamOptions, httpOptions, readTrustedPublicKeys, type UpstreamOptions } from '../upstream-options.ts';

interface VerifyOptions extends CommonOptions, UpstreamOptions {
  readonly jobs?: number;
}

export function define(command: Command, run: CommandRun): void {
  addUpstreamOptions(command, 'where to fetch damaged paths anew; repeat for more (default: nowhere)').option(
    '--jobs <n>',
    'files to read at once (default: enough for all cores)',
    wholeNumber(1, 1024),
  );
  addCommonOptions(command, ['nixferry verify', 'nixferry verify --upstream https://cache.nixos.org']).action(
    (options: VerifyOptions) => verify(options, run),
  );
}

async function verify(options: VerifyOptions, run: CommandRun): Promise<void> {
  const { config, mirrorDirectory } = await readCommonOptions(options);
  await using mirror = await openMirror(mirrorDirectory, { access: 'write', command: 'nixferry verify' });
  const result = await verifyAndRepair(mirror, options, config, run);
  // What is served as files of git comes from paths, which are whole by now or hidden.
  const { problems } = await restoreRepositories(mirror, { readPacks: true, signal: run.signal });
  run.output.onProgress({ type: 'phase', phase: '' });
  for (const problem of problems) run.output.warn(problem);
  const code = codeOf(result);
  if (code === undefined) run.output.say(describe(result));
  else run.output.warn(describe(result));
  const exitCode = code === undefined ? EXIT.complete : ERROR_TABLE[code].exitCode;
  run.finish(exitCode);
  run.output.verdict(exitCode, { ...(code === undefined ? {} : { code }), ...result });
}

async function verifyAndRepair(
  mirror: Mirror,
  options: VerifyOptions,
  config: Config,
  run: CommandRun,
): Promise<VerifyResult> {
  const { onProgress } = run.output;
  const { signal } = run;
  const common = { mirror, signal, onProgress, ...(options.jobs === undefined ? {} : { jobs: options.jobs }) };
  if (options.upstream === undefined) return verifyMirror(common);
  await using http = createHttpClient(httpOptions(options, config));
  await using upstreams = await openUpstreams(options.upstream, {
    http,
    signal,
    onProgress,
    storeDir: mirror.storeDir,
  });
  const trustedKeys = [...(await readTrustedPublicKeys(options, config, mirror)), mirror.publicKey];
  return verifyMirror({
    ...common,
    refetch: refetchFrom({ mirror, upstreams, http, trustedKeys }),
  });
}

/** What it comes to, as an error's code; undefined when nothing was wrong. */
function codeOf(result: VerifyResult): ErrorCode | undefined {
  if (result.damaged.length > 0 || result.hidden.length > 0) return 'damage';
  return result.repaired.length > 0 ? 'damage-repaired' : undefined;
}

function describe(result: VerifyResult): string {
  const lines: string[] = [];
  for (const { storePath, hashPart, reason, repairFailed } of result.damaged) {
    lines.push(`damaged: ${storePath ?? hashPart}`, `  ${reason}`);
    if (repairFailed !== undefined) lines.push(`  could not be fetched anew: ${repairFailed}`);
  }
  for (const { storePath, missing } of result.hidden) {
    lines.push(`withheld: ${storePath}`, `  it refers to ${missing.join(', ')}`);
  }
  for (const path of result.repaired) lines.push(`repaired: ${path}`);
  for (const orphan of result.orphans) lines.push(`unused: ${orphan} (no path speaks of it; it does no harm)`);
  if (result.indexRebuilt) lines.push('the index did not agree with the files and was made anew');
  lines.push(summary(result));
  return lines.join('\n');
}

function summary(result: VerifyResult): string {
  const checked = formatCount(result.checked, 'path');
  if (result.damaged.length + result.hidden.length > 0) {
    return `damage: of ${checked}, ${result.damaged.length} damaged and ${result.hidden.length} withheld because of them; clients see none of these.\nnext:  nixferry verify --upstream URL fetches them anew (with --trusted-public-key for another cache than cache.nixos.org); on an isolated side, import the shipment that brought them again`;
  }
  if (result.repaired.length > 0) return `repaired: ${checked} read, ${result.repaired.length} made good again`;
  return `complete: ${checked} read, all are what they should be`;
}
