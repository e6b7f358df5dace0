import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { NixferryError } from '../base/errors.ts';
import { createHttpClient, type HttpClient } from '../base/http-client.ts';
import { LIMITS } from '../base/limits.ts';
import { DEFAULT_JOBS } from '../collect/collect.ts';
import { openDerivationFolder } from '../collect/derivation-folder.ts';
import { type CollectPlan, planCollect } from '../collect/plan.ts';
import { type ResolvedRoot, type RootSources, resolveRoots } from '../collect/resolve-roots.ts';
import { isRepositoryRoot, parseRootRequests, type RootRequest } from '../collect/root-request.ts';
import type { Config } from '../config/config.ts';
import { DEFAULT_UPSTREAM } from '../config/default-trust.ts';
import { findDerivationOutputs, readDerivationOutputNames } from '../evaluate/derivation-outputs.ts';
import { evaluateInstallable } from '../evaluate/installable.ts';
import { openLocalStore } from '../evaluate/local-store.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { SCOPES, type Scope } from '../mirror/roots.ts';
import { NixFormatError, type PublicKey, parseStorePath, type StorePath } from '../nix/index.ts';
import { DEFAULT_STORE_DIR } from '../nix/store-path.ts';
import type { ReadDerivation } from '../sources/mirror-lists.ts';
import type { SourceSupply } from '../sources/source-supply.ts';
import { DEFAULT_CHANNELS_BASE } from '../upstream/channel.ts';
import { findChannelRelease } from '../upstream/channel-release.ts';
import { readStorePathsList } from '../upstream/store-paths-list.ts';
import { openUpstreams, UpstreamSet } from '../upstream/upstream-set.ts';
import { resolveAllSources } from './all-sources.ts';
import { type CommonOptions, collectValues, wholeNumber } from './common-options.ts';
import { addEvaluatingOptions, describeSettings, type EvaluatingOptions, readEvaluating } from './evaluating.ts';
import { Evaluations } from './evaluations.ts';
import type { CommandRun } from './run.ts';
import { addSourcesOptions, openSupply, readDerivationsFrom, type SourcesOptions } from './sources.ts';
import { addUpstreamOptions, httpOptions, readTrustedPublicKeys, type UpstreamOptions } from './upstream-options.ts';

// What plan, collect and export share: where roots and paths come from, and whom to trust.

export interface CollectOptions extends CommonOptions, UpstreamOptions, EvaluatingOptions, SourcesOptions {
  readonly file?: string;
  readonly attr?: readonly string[];
  readonly channelsBase?: string;
  readonly jobs?: number;
  readonly scope?: Scope;
  /** False with --no-drvs. */
  readonly drvs: boolean;
  readonly sourcesOnly?: boolean;
  /** False with --no-repositories. */
  readonly repositories: boolean;
  /** A want list, besides roots or in their place. */
  readonly want?: string;
}

export function addCollectOptions(command: Command): Command {
  const help = `binary cache to copy from; repeat for more, asked in order (default: ${DEFAULT_UPSTREAM})`;
  return addSourcesOptions(addEvaluatingOptions(addUpstreamOptions(command, help)))
    .argument(
      '[roots...]',
      'store paths, links to them, files of paths (- for stdin), channel:NAME, git+https://… for a repository, flake outputs, names from nixferry.toml',
    )
    .option('-f, --file <file>', 'a Nix file whose derivations are roots')
    .option('-A, --attr <attribute>', 'with -f: only this attribute of it; repeat for more', collectValues)
    .addOption(
      new Option(
        '--scope <scope>',
        'how much of a root to carry: to run it, to change its options and rebuild, or to rebuild anything from source (default: reconfigure for a NixOS configuration, else run)',
      ).choices(SCOPES),
    )
    .option('--no-drvs', 'leave the .drv files out: the isolated side evaluates by itself')
    .option('--no-repositories', 'leave repositories out that evaluation fetches from: the isolated side has them')
    .option('--sources-only', 'at scope rebuild: leave out what the carried packages were built from')
    .option('--channels-base <url>', `where channel:NAME is looked for (default: ${DEFAULT_CHANNELS_BASE})`)
    .option('--jobs <n>', `transfers at once (default: ${DEFAULT_JOBS})`, wholeNumber(1, 1024));
}

/** Everything that planning and collecting need besides the mirror; to be closed. */
export interface Collecting extends AsyncDisposable {
  readonly storeDir: string;
  readonly http: HttpClient;
  readonly upstreams: UpstreamSet;
  readonly jobs: number;
  /** Where channels are looked for. */
  readonly channelsBase: string;
  /** Where sources come from that no cache has; its folders are hashed when it is first asked for. */
  supply(): Promise<SourceSupply>;
  resolve(): Promise<ResolvedRoot[]>;
  trustedKeys(mirror: Mirror | undefined): Promise<readonly PublicKey[]>;
  /** @param compare scopes to work out beside the roots' own. */
  plan(place: PlanPlace, roots: readonly ResolvedRoot[], compare?: readonly Scope[]): Promise<CollectPlan>;
}

/** Where a plan is made for. */
export interface PlanPlace {
  /** Undefined where it is not made yet. */
  readonly mirror: Mirror | undefined;
  readonly mirrorDirectory: string;
}

/** Opens upstreams and the local store as the options and nixferry.toml say. */
export async function openCollecting(
  texts: readonly string[],
  options: CollectOptions,
  config: Config,
  run: CommandRun,
): Promise<Collecting> {
  if (texts.length === 0 && options.file === undefined && options.want === undefined) {
    throw new NixferryError('usage', 'no root is given', {
      hint: 'name what to carry: a store path, nixpkgs#hello, channel:nixos-26.05, a file of store paths, or a name from nixferry.toml',
    });
  }
  const { onProgress } = run.output;
  const { signal } = run;
  const http = createHttpClient(httpOptions(options, config));
  const urls = options.upstream ?? config.upstreams ?? [DEFAULT_UPSTREAM];
  const asksNoCache =
    texts.every(isRepositoryRoot) &&
    [options.file, options.want, options.upstream, config.upstreams].every((one) => one === undefined);
  const upstreams = asksNoCache
    ? new UpstreamSet([], DEFAULT_STORE_DIR, onProgress)
    : await openUpstreams(urls, { http, signal, onProgress });
  const { storeDir } = upstreams;
  const localStore = openLocalStore(storeDir);
  const trustedKeys = (mirror: Mirror | undefined) => readTrustedPublicKeys(options, config, mirror);
  const evaluations = new Evaluations(storeDir);
  const folders = (options.derivations ?? []).map((folder) => openDerivationFolder(resolve(folder)));
  const readDerivation = readDerivationsFrom(options.derivations ?? [], (drvPath) => evaluations.derivation(drvPath));
  const sourceHttp = createHttpClient({ ...httpOptions(options, config), attempts: LIMITS.sourceHttpAttempts });
  let supply: Promise<SourceSupply> | undefined;
  const openSupplyOnce = () => {
    const bring = (drvPath: StorePath) => evaluations.bring(drvPath, signal);
    const collaborators = { http: sourceHttp, storeDir, localStore, readDerivation, bring, onProgress, signal };
    return (supply ??= openSupply(options, config, collaborators));
  };
  const carries = { withDerivations: options.drvs, sourcesOnly: options.sourcesOnly ?? false };
  return {
    storeDir,
    http,
    upstreams,
    jobs: options.jobs ?? config.jobs ?? DEFAULT_JOBS,
    channelsBase: channelsBaseOf(options, config),
    supply: openSupplyOnce,
    resolve: () => resolveAll(texts, options, config, { http, storeDir, evaluations, readDerivation, run }),
    trustedKeys,
    async plan({ mirror, mirrorDirectory }, roots, compare = []) {
      return planCollect({
        roots,
        mirror,
        mirrorDirectory,
        storeDir,
        upstreams,
        localStores: [...evaluations.stores, ...folders, ...(localStore === undefined ? [] : [localStore])],
        readDerivation,
        supply: await openSupplyOnce(),
        trustedKeys: await trustedKeys(mirror),
        compare,
        carries,
        findChannel: (name) =>
          findChannelRelease(name, { http, channelsBase: channelsBaseOf(options, config), signal }),
        onProgress,
        signal,
      });
    },
    async [Symbol.asyncDispose]() {
      await evaluations[Symbol.asyncDispose]();
      await upstreams[Symbol.asyncDispose]();
      await sourceHttp[Symbol.asyncDispose]();
      await http[Symbol.asyncDispose]();
    },
  };
}

interface ResolveContext {
  readonly http: HttpClient;
  readonly storeDir: string;
  readonly evaluations: Evaluations;
  readonly readDerivation: ReadDerivation;
  readonly run: CommandRun;
}

async function resolveAll(
  texts: readonly string[],
  options: CollectOptions,
  config: Config,
  { http, storeDir, evaluations, readDerivation, run }: ResolveContext,
): Promise<ResolvedRoot[]> {
  const { signal, output } = run;
  const { onProgress } = output;
  const workingDirectory = process.cwd();
  const channelsBase = channelsBaseOf(options, config);
  const evaluating = await readEvaluating(options, config);
  const { settings } = evaluating;
  const told = describeSettings(settings);
  const requests = [
    ...(await parseRootRequests(texts, { workingDirectory, storeDir, named: config.roots })),
    ...fileRequests(options),
  ].map((request) => toldRequest(request, told));
  const list = (source: string) => readStorePathsList(source, { http, storeDir, signal, channelsBase });
  const readFile = async (drvPath: string) => {
    const path = storePathOrNot(drvPath, storeDir);
    return path === undefined ? undefined : readDerivation(path);
  };
  const sources: RootSources = {
    storeDir,
    list,
    channel: (name) => list(`channel:${name}`),
    evaluate: (installable) => evaluateInstallable(installable, { workingDirectory, settings, signal }),
    explore: async (installable) => {
      const request = { ...evaluating, installable };
      const explored = await evaluations.open(request, { storeDir, workingDirectory, onProgress, signal });
      return options.repositories ? explored : { ...explored, repositoryUrls: [] };
    },
    outputs: (drvPath, wanted) => findDerivationOutputs(drvPath, wanted, storeDir, readFile),
    outputNames: (drvPath) => readDerivationOutputNames(drvPath, storeDir, readFile),
    onOnlyRun: (request) =>
      output.warn(
        `${request} is no derivation, so it is carried to be run only: name a flake output, or -f FILE -A ATTR`,
      ),
  };
  if (options.sources === 'all')
    return resolveAllSources(requests, { settings, storeDir, workingDirectory, evaluations, run });
  return resolveRoots(requests, sources, chosenScope(options));
}

function channelsBaseOf(options: CollectOptions, config: Config): string {
  return options.channelsBase ?? config.channelsBase ?? DEFAULT_CHANNELS_BASE;
}

function storePathOrNot(text: string, storeDir: string): StorePath | undefined {
  try {
    return parseStorePath(text, storeDir);
  } catch (error) {
    if (error instanceof NixFormatError) return undefined;
    throw error;
  }
}

/** What is told to Nix makes another root of what is evaluated. */
function toldRequest(request: RootRequest, told: string): RootRequest {
  return request.kind === 'installable' ? { ...request, request: `${request.request}${told}` } : request;
}

/** Whoever names a variant wants to be able to change to it. */
function chosenScope({ scope, variant = [] }: CollectOptions): Scope | undefined {
  if (variant.length === 0) return scope;
  if (scope !== 'run') return scope ?? 'reconfigure';
  throw new NixferryError(
    'usage',
    'a variant has no use at scope run, which carries what runs and nothing to change it',
    {
      hint: 'leave --scope run out',
    },
  );
}

function fileRequests(options: CollectOptions): RootRequest[] {
  const { file } = options;
  if (file === undefined) {
    if (options.attr !== undefined)
      throw new NixferryError('usage', '-A without -f', { hint: 'name the file with -f FILE' });
    return [];
  }
  const shown = file.startsWith('<') ? file : resolve(file);
  return (options.attr ?? ['']).map((attribute) => ({
    kind: 'installable',
    request: attribute === '' ? `-f ${shown}` : `-f ${shown} -A ${attribute}`,
    installable: { kind: 'file', file: shown, attribute, outputs: 'default' },
  }));
}
