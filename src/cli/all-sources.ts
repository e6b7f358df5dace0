import { resolve } from 'node:path';
import { formatCount } from '../base/amounts.ts';
import { NixferryError } from '../base/errors.ts';
import { type AllSources, findAllSources } from '../collect/all-sources.ts';
import type { ResolvedRoot } from '../collect/resolve-roots.ts';
import type { RootRequest } from '../collect/root-request.ts';
import type { NixSettings } from '../evaluate/evaluation-request.ts';
import { openEvaluationStore } from '../evaluate/evaluation-store.ts';
import type { Installable } from '../evaluate/installable.ts';
import { nixString } from '../evaluate/nix-value.ts';
import { instantiatePackage } from '../evaluate/package-walk.ts';
import type { Evaluations } from './evaluations.ts';
import type { CommandRun } from './run.ts';
import { sourceCacheFolder } from './sources.ts';

const HINT = 'name a nixpkgs with it: -f "<nixpkgs>", -f DIR, or a flake such as github:NixOS/nixpkgs/nixos-26.05';

export interface AllSourcesRootOptions {
  readonly settings: NixSettings;
  readonly storeDir: string;
  readonly workingDirectory: string;
  readonly evaluations: Evaluations;
  readonly run: CommandRun;
}

/** `--sources all`: what is named is not carried itself, but every source of the packages in it. */
export async function resolveAllSources(
  requests: readonly RootRequest[],
  options: AllSourcesRootOptions,
): Promise<ResolvedRoot[]> {
  const roots: ResolvedRoot[] = [];
  for (const request of requests) {
    const nixpkgs = packageSetOf(request, options.workingDirectory);
    roots.push(await resolveOne(request.request, nixpkgs, options));
  }
  return roots;
}

async function resolveOne(request: string, nixpkgs: string, options: AllSourcesRootOptions): Promise<ResolvedRoot> {
  const { run, settings, storeDir, workingDirectory, evaluations } = options;
  const { output, signal } = run;
  const { onProgress } = output;
  const found = new Map<string, AllSources['sources'][number]>();
  for (const system of settings.systems.length === 0 ? [undefined] : settings.systems) {
    // Each with a store of its own: together they would take room for all at once.
    await using store = await openEvaluationStore(storeDir);
    const { sources, failed } = await findAllSources({
      nixpkgs,
      settings,
      system,
      store,
      workingDirectory,
      storeDir,
      environment: process.env,
      cacheFolder: sourceCacheFolder(),
      onProgress,
      signal,
    });
    for (const source of sources) {
      found.set(source.storePath, source);
      const { attribute } = source;
      evaluations.addInstantiator(source.drvPath, (stop) => {
        return instantiatePackage(attribute, { nixpkgs, settings, system, workingDirectory, signal: stop });
      });
    }
    if (failed.length > 0) {
      const names = failed.slice(0, SHOWN_NAMES).map((path) => path.join('.'));
      const more = failed.length > names.length ? ' and others' : '';
      output.warn(`${formatCount(failed.length, 'package')} could not be evaluated: ${names.join(', ')}${more}`);
    }
  }
  const sources = [...found.values()].sort((a, b) => (a.storePath < b.storePath ? -1 : 1));
  const paths = sources.map(({ storePath }) => storePath);
  const name = `all sources of ${request.replace(/^-f /, '')}`;
  return {
    request: `--sources all ${request}`,
    name,
    paths,
    fromDerivation: false,
    sources,
    scope: 'run',
    targets: [],
    evaluationInputs: [],
  };
}

const SHOWN_NAMES = 10;

/** An expression for the folder of the package set. */
function packageSetOf(request: RootRequest, workingDirectory: string): string {
  if (request.kind !== 'installable') throw notASet(request.request);
  const { installable } = request;
  return installable.kind === 'file'
    ? fileOf(installable, request.request, workingDirectory)
    : flakeOf(installable.reference);
}

function fileOf(
  { file, attribute }: Extract<Installable, { kind: 'file' }>,
  request: string,
  workingDirectory: string,
): string {
  if (attribute !== '') throw notASet(request);
  if (file.startsWith('<')) return file;
  if (file.includes('://')) return `builtins.fetchTarball ${nixString(file)}`;
  return `/. + ${nixString(resolve(workingDirectory, file))}`;
}

function flakeOf(reference: string): string {
  const [flake = '', attribute = ''] = reference.split('#');
  if (attribute !== '') throw notASet(reference);
  return `(builtins.getFlake ${nixString(flake.startsWith('/') ? `path:${flake}` : flake)}).outPath`;
}

function notASet(request: string): NixferryError {
  return new NixferryError('usage', `--sources all takes whole package sets, and ${request} is none`, { hint: HINT });
}
