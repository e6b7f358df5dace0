import { resolve } from 'node:path';
import type { Command } from 'commander';
import { formatCount } from '../../base/amounts.ts';
import { EXIT, NixferryError } from '../../base/errors.ts';
import type { Config } from '../../config/config.ts';
import { type Mirror, openMirror } from '../../mirror/mirror.ts';
import { findRoots, type RootRecord, readRoots } from '../../mirror/roots.ts';
import { NixFormatError, nameOf, type PublicKey, parseStorePath, type StorePath } from '../../nix/index.ts';
import { checkFields, countMissing, describeCheckedRoot, shownNames } from '../check-report.ts';
import { checkAll, type NamedRequest, requestOfRecord } from '../checking.ts';
import { addCommonOptions, type CommonOptions, collectValues, readCommonOptions } from '../common-options.ts';
import type { CommandRun } from '../run.ts';
import { readPublicKey, readTrustedPublicKeys } from '../upstream-options.ts';

interface CheckOptions extends CommonOptions {
  readonly trustedPublicKey?: readonly string[];
  readonly alwaysAllowSubstitutes?: boolean;
}

export function define(command: Command, run: CommandRun): void {
  command
    .argument(
      '[roots...]',
      'roots as nixferry status names them, store paths, or .drv files (default: all roots of the mirror)',
    )
    .option(
      '--trusted-public-key <key>',
      "key that clients trust, name:base64; repeat for more (default: the mirror's own)",
      collectValues,
    )
    .option('--always-allow-substitutes', 'judge for clients that have this setting on (Nix 2.19 or newer)');
  addCommonOptions(command, [
    'nixferry check',
    'nixferry check web01',
    'nixferry check $(nix-instantiate -A web01)    # what was not collected, against what is there',
  ]).action((queries: string[], options: CheckOptions) => checkCommand(queries, options, run));
}

async function checkCommand(queries: readonly string[], options: CheckOptions, run: CommandRun): Promise<void> {
  const { output, signal } = run;
  const { config, mirrorDirectory } = await readCommonOptions(options);
  await using mirror = await openMirror(mirrorDirectory, { access: 'read' });
  const checked = await checkAll(await requestsFor(mirror, queries), {
    mirror,
    keys: await keysOfClients(mirror, options, config),
    alwaysAllowSubstitutes: options.alwaysAllowSubstitutes,
    onProgress: output.onProgress,
    signal,
  });
  const names = shownNames(checked);
  for (const [index, root] of checked.entries()) {
    output.event('root', checkFields(root));
    tell(
      run,
      root.result.missing.length === 0 && root.result.judged !== 'paths-only',
      describeCheckedRoot(root, names[index]),
    );
  }
  const missing = countMissing(checked);
  const exitCode = missing === 0 ? EXIT.complete : EXIT.partial;
  if (missing === 0) tell(run, true, `complete: ${formatCount(checked.length, 'root')} checked, nothing is missing`);
  else tell(run, false, `not complete: ${formatCount(missing, 'path')} missing`);
  run.finish(exitCode);
  const code = missing === 0 ? {} : { code: 'check-incomplete' };
  output.verdict(exitCode, { ...code, roots: checked.length, missing });
}

/** Good news may be left out with --quiet. */
function tell({ output }: CommandRun, isGood: boolean, text: string): void {
  if (output.json) return;
  if (isGood) output.say(text);
  else output.warn(text);
}

/** The mirror signs all that it has, so that its key is all that clients need; a plain binary cache has none. */
async function keysOfClients(mirror: Mirror, options: CheckOptions, config: Config): Promise<readonly PublicKey[]> {
  const { trustedPublicKey } = options;
  if (trustedPublicKey !== undefined) return trustedPublicKey.map(readPublicKey);
  return mirror.hasKey ? [mirror.publicKey] : readTrustedPublicKeys({}, config, mirror);
}

async function requestsFor(mirror: Mirror, queries: readonly string[]): Promise<readonly NamedRequest[]> {
  const records = new Map<string, RootRecord>();
  const others: NamedRequest[] = [];
  if (queries.length === 0) for (const record of await readRoots(mirror)) records.set(record.id, record);
  for (const query of queries) {
    const found = await recordsNamed(mirror, query);
    for (const record of found) records.set(record.id, record);
    if (found.length === 0) others.push(requestOfPath(mirror, query));
  }
  const requests = [...[...records.values()].map((record) => requestOfRecord(record, mirror.storeDir)), ...others];
  if (requests.length > 0) return requests;
  throw new NixferryError('usage', `the mirror ${mirror.directory} has no roots to check`, {
    hint: 'collect or import something first, or name a store path',
  });
}

async function recordsNamed(mirror: Mirror, query: string): Promise<readonly RootRecord[]> {
  const found = await findRoots(mirror, query);
  // A link or folder was recorded by its full path.
  return found.length > 0 ? found : findRoots(mirror, resolve(query));
}

/** A path of the store, or `DRV`, `DRV!OUT,DEV` as nix-instantiate prints them, `DRV^OUT,DEV` as newer commands do. */
function requestOfPath(mirror: Mirror, query: string): NamedRequest {
  const [pathText = '', outputs] = query.split(/[!^]/, 2);
  const path = parsePath(mirror, pathText, query);
  const empty = { paths: [], targets: [], evaluationInputs: [], recorded: [] };
  if (!path.endsWith('.drv'))
    return { name: nameOf(path), record: undefined, request: { ...empty, scope: 'run', paths: [path] } };
  const names = outputs === undefined || outputs === '*' ? [] : outputs.split(',');
  const target = { drvPath: path, outputs: names };
  return { name: query, record: undefined, request: { ...empty, scope: 'reconfigure', targets: [target] } };
}

function parsePath(mirror: Mirror, text: string, query: string): StorePath {
  try {
    return parseStorePath(text, mirror.storeDir);
  } catch (error) {
    if (!(error instanceof NixFormatError)) throw error;
    throw new NixferryError('bad-root', `the mirror has no root '${query}', and it is no path of ${mirror.storeDir}`, {
      hint: `collect it first (nixferry collect ${query}), or see the roots with nixferry status`,
    });
  }
}
