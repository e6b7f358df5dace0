import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { formatCount } from '../../base/amounts.ts';
import { EXIT, NixferryError } from '../../base/errors.ts';
import { createHttpClient } from '../../base/http-client.ts';
import { runNix } from '../../evaluate/nix-command.ts';
import type { RootInputs } from '../../mirror/evaluation-inputs.ts';
import { type FoundInputsList, findInputsList } from '../../site/find-inputs-list.ts';
import { type PrimedRoot, prime } from '../../site/prime.ts';
import { addCommonOptions, type CommonOptions, readCommonOptions } from '../common-options.ts';
import { mirrorsOfNix } from '../mirrors-of-nix.ts';
import type { CommandRun } from '../run.ts';
import { httpOptions } from '../upstream-options.ts';

interface PrimeOptions extends CommonOptions {
  readonly url?: string;
  readonly gcRoots?: string;
  readonly netrcFile?: string;
  readonly caFile?: string;
}

export function define(command: Command, run: CommandRun): void {
  command
    .argument('[roots...]', 'roots as nixferry status names them on the mirror (default: all that were evaluated)')
    .option('--url <url>', 'the mirror that says what to fetch (default: the substituters of Nix here, or --mirror)')
    .option('--gc-roots <dir>', 'folder for the links that keep what was fetched (default: below ~/.local/state)')
    .option('--netrc-file <file>', 'passwords for the mirror (default: ~/.netrc)')
    .option('--ca-file <file>', 'certificates to trust besides the usual ones');
  addCommonOptions(command, ['nixferry prime', 'nixferry prime web01 --url http://ferry:8080']).action(
    (names: string[], options: PrimeOptions) => primeCommand(names, options, run),
  );
}

async function primeCommand(names: readonly string[], options: PrimeOptions, run: CommandRun): Promise<void> {
  const { output, signal } = run;
  const found = await findList(options, signal);
  const roots = names.length === 0 ? found.list.roots : names.flatMap((name) => rootsNamed(found, name));
  for (const { name, complete } of roots) {
    if (!complete) output.warn(`the mirror has not all of ${name}: some of what it reads may be missing`);
  }
  const linksFolder = resolve(options.gcRoots ?? usualLinksFolder());
  const primed = await prime({
    roots: [...new Set(roots)],
    storeDir: found.list.storeDir,
    linksFolder,
    runNix: (program, args, purpose) => runNix(program, args, { purpose, signal }),
    onProgress: output.onProgress,
    signal,
  });
  output.onProgress({ type: 'phase', phase: '' });
  for (const root of primed) tellRoot(run, root);
  const missing = primed.reduce((total, root) => total + root.missing.length, 0);
  const exitCode = missing === 0 ? EXIT.complete : EXIT.partial;
  if (primed.length === 0) output.say(`no root of ${found.where} was evaluated, so there is nothing to fetch`);
  else if (missing === 0) output.say(`complete: Nix can evaluate here now; the links in ${linksFolder} keep it so`);
  else output.warn(`not complete: ${formatCount(missing, 'path')} missing\nnext:  ${NEXT}`);
  run.finish(exitCode);
  output.verdict(exitCode, { from: found.where, gcRoots: linksFolder, missing });
}

const NEXT =
  'nixferry check ROOT on the mirror says what it lacks of what evaluating reads; have that sent, then type the same command again';

function tellRoot({ output }: CommandRun, root: PrimedRoot): void {
  const { name, pathCount, missing } = root;
  output.event('root', { ...root });
  output.say(`${name}: ${formatCount(pathCount, 'path')} in the store`);
  for (const input of missing) output.warn(`${name} lacks ${input.name} (${input.path}): ${input.reason}`);
}

async function findList(options: PrimeOptions, signal: AbortSignal): Promise<FoundInputsList> {
  const { config, mirrorDirectory } = await readCommonOptions(options);
  await using http = createHttpClient(httpOptions(options, config));
  return findInputsList(await placesToAsk(options, mirrorDirectory, signal), { http, signal });
}

async function placesToAsk(
  { url, mirror }: PrimeOptions,
  mirrorDirectory: string,
  signal: AbortSignal,
): Promise<readonly string[]> {
  if (url !== undefined) return [url];
  if (mirror !== undefined) return [mirrorDirectory];
  // A client has no mirror of its own as a rule, but the machine that serves is one, too.
  return [...(await mirrorsOfNix(signal)), mirrorDirectory];
}

function rootsNamed({ where, list }: FoundInputsList, name: string): readonly RootInputs[] {
  const found = list.roots.filter((root) => [root.id, root.name, root.request].includes(name));
  if (found.length > 0) return found;
  const known = list.roots.map((root) => root.name).join(', ');
  throw new NixferryError('bad-root', `${where} knows no root '${name}' that was evaluated`, {
    hint: known === '' ? 'only roots at scope reconfigure or rebuild are evaluated' : `it knows: ${known}`,
  });
}

function usualLinksFolder(): string {
  const state = process.env['XDG_STATE_HOME'];
  const folder = state === undefined || state === '' ? join(homedir(), '.local', 'state') : state;
  return join(folder, 'nixferry', 'primed');
}
