import { NixferryError } from '../base/errors.ts';
import type { Target } from '../closure/scopes.ts';
import type { DerivationOutputPath } from '../evaluate/derivation-outputs.ts';
import type { EvaluatedDerivation, EvaluatedRoot, Installable } from '../evaluate/installable.ts';
import { parseRepositoryAddress } from '../mirror/repository-address.ts';
import type { FlakeReference, RootEvaluationInput, RootRepository, Scope } from '../mirror/roots.ts';
import { NixFormatError, nameOf, parseStorePath, type StorePath } from '../nix/index.ts';
import type { FixedSource } from '../sources/fixed-source.ts';
import type { RootRequest } from './root-request.ts';

/** A root as what Nix makes of it. */
export interface ResolvedRoot {
  /** As it was asked for. */
  readonly request: string;
  /** Short, for people: `hello-2.12`, `nixos-26.05`, `web01`. */
  readonly name: string;
  /** What is carried with all that it refers to; empty where `targets` says what to carry. */
  readonly paths: readonly StorePath[];
  /** The paths are outputs of derivations, which may not be built anywhere yet. */
  readonly fromDerivation: boolean;
  /** These derivations, where `paths` says what to carry. */
  readonly derivations?: readonly StorePath[];
  /** What their derivations say of the paths, where these are the sources of a package set. */
  readonly sources?: readonly FixedSource[];
  readonly scope: Scope;
  /**
   * What Nix is asked to build: the root's derivations, then those of its variants. Empty where there are no derivations, and at `run` where their
   * outputs are known before they are built.
   */
  readonly targets: readonly Target[];
  readonly evaluationInputs: readonly EvaluationInput[];
  /** Repositories of git: the root itself, or what evaluating it fetches. */
  readonly wantedRepositories?: readonly WantedRepository[];
  /** What of these is in the mirror. */
  readonly repositories?: readonly RootRepository[];
  /** Whether one of these could not be had. */
  readonly lacksRepositories?: boolean;
}

/** A repository as it is outside now. */
export interface WantedRepository extends Omit<RootRepository, 'path'> {
  /** Only what anybody can have is fetched: without credentials, and without the user's settings of git. */
  readonly isAnonymous?: true;
}

/** Something that evaluating a root read besides derivations. */
export interface EvaluationInput {
  readonly kind: RootEvaluationInput['kind'];
  readonly name: string;
  readonly storePath: StorePath;
  /** Of a node of flake.lock, as that has it. */
  readonly locked?: FlakeReference;
  readonly original?: FlakeReference;
}

/** What evaluating in a store of its own found out. */
export interface ExploredRoot {
  /** A whole NixOS, of which people will want to change options. */
  readonly isNixos: boolean;
  readonly targets: readonly Target[];
  readonly inputs: readonly EvaluationInput[];
  /** Addresses of repositories of git that evaluating fetched from. */
  readonly repositoryUrls?: readonly string[];
}

/** The collaborators that know where lists come from and how to ask Nix. */
export interface RootSources {
  readonly storeDir: string;
  /** A list of store paths: a file, a URL, or `-` for stdin. */
  list(source: string): AsyncIterable<StorePath>;
  /** The list of store paths of a channel. */
  channel(name: string): AsyncIterable<StorePath>;
  /** The derivations alone, the quick way. */
  evaluate(installable: Installable): Promise<EvaluatedRoot>;
  /** Variants and all that evaluation reads, too. */
  explore(installable: Installable): Promise<ExploredRoot>;
  /** Without a path where that is decided only by building. */
  outputs(drvPath: string, wanted: 'all' | readonly string[]): Promise<readonly DerivationOutputPath[]>;
  outputNames(drvPath: StorePath): Promise<readonly string[]>;
  /** Called with the request of a root that has no derivations, and is carried at `run` although more was asked for. */
  onOnlyRun(request: string): void;
}

/**
 * Resolves requests to what is to be carried, in order.
 * @param scope undefined for the default: `reconfigure` for a NixOS configuration, `run` for everything else.
 * @throws NixferryError `bad-root` when a root stands for nothing; what the sources throw.
 */
export async function resolveRoots(
  requests: readonly RootRequest[],
  sources: RootSources,
  scope?: Scope,
): Promise<ResolvedRoot[]> {
  const roots: ResolvedRoot[] = [];
  for (const request of requests) {
    const resolved = await resolveRequest(request, sources, scope);
    if (resolved.paths.length === 0 && resolved.targets.length === 0 && resolved.wantedRepositories === undefined) {
      throw new NixferryError('bad-root', `'${request.request}' names no store path at all`, {
        hint: 'a list of store paths has one path a line',
      });
    }
    roots.push({ request: request.request, name: rootName(request, resolved.paths), ...resolved });
  }
  return roots;
}

type Resolution = Omit<ResolvedRoot, 'request' | 'name'>;

async function resolveRequest(
  request: RootRequest,
  sources: RootSources,
  scope: Scope | undefined,
): Promise<Resolution> {
  if (request.kind === 'installable') return resolveInstallable(request.installable, sources, scope);
  if (request.kind === 'repository') return { ...runOnly([], []), wantedRepositories: [request.repository] };
  if (request.kind === 'derivation' && scope !== undefined && scope !== 'run') {
    const drvPath = readStorePath(request.path, sources.storeDir);
    const targets = [{ drvPath, outputs: await sources.outputNames(drvPath) }];
    return { paths: [], fromDerivation: true, scope, targets, evaluationInputs: [] };
  }
  if (request.kind !== 'derivation' && scope !== undefined && scope !== 'run') sources.onOnlyRun(request.request);
  if (request.kind === 'derivation') {
    const drvPath = readStorePath(request.path, sources.storeDir);
    return runDerivations([{ drvPath, outputs: 'all' }], sources);
  }
  return runOnly(await pathsOf(request, sources), []);
}

async function resolveInstallable(
  installable: Installable,
  sources: RootSources,
  scope: Scope | undefined,
): Promise<Resolution> {
  const expectsNixos = scope === undefined && namesNixos(installable);
  if (scope === 'run' || (scope === undefined && !expectsNixos)) {
    const { isNixos, derivations } = await sources.evaluate(installable);
    if (scope === 'run' || !isNixos) return runDerivations(derivations, sources);
  }
  const { isNixos, targets, inputs, repositoryUrls = [] } = await sources.explore(installable);
  const repositories = new Map(
    repositoryUrls.flatMap((url) => {
      const address = parseRepositoryAddress(url);
      return address === undefined ? [] : [[address.place, address] as const];
    }),
  );
  if (expectsNixos && !isNixos) {
    return runDerivations(
      targets.filter(({ variant }) => variant === undefined),
      sources,
    );
  }
  return {
    paths: [],
    fromDerivation: true,
    scope: scope ?? 'reconfigure',
    targets,
    evaluationInputs: inputs,
    ...(repositories.size === 0 ? {} : { wantedRepositories: [...repositories.values()] }),
  };
}

/** Whether it is worth trying at once what is done for a NixOS: evaluating one takes long, and the quick way would be another time. */
function namesNixos(installable: Installable): boolean {
  const text = installable.kind === 'flake' ? installable.reference : installable.attribute;
  return /(?:^|[#.])nixosConfigurations\./.test(text);
}

/** Their outputs, where these are known; else caches are to be asked what they are. */
async function runDerivations(
  derivations: readonly (Omit<EvaluatedDerivation, 'outputs'> & { readonly outputs: 'all' | readonly string[] })[],
  sources: RootSources,
): Promise<Resolution> {
  const targets: Target[] = [];
  const paths: StorePath[] = [];
  let isKnown = true;
  for (const { drvPath, outputs: wanted } of derivations) {
    const outputs = await sources.outputs(drvPath, wanted);
    targets.push({ drvPath: parseStorePath(drvPath, sources.storeDir), outputs: outputs.map(({ name }) => name) });
    for (const { path } of outputs) {
      if (path === undefined) isKnown = false;
      else paths.push(path);
    }
  }
  if (isKnown) {
    return runOnly(
      paths,
      targets.map(({ drvPath }) => drvPath),
    );
  }
  return { paths: [], fromDerivation: true, scope: 'run', targets, evaluationInputs: [] };
}

function runOnly(paths: readonly StorePath[], derivations: readonly StorePath[]): Resolution {
  const fromDerivation = derivations.length > 0;
  return { paths: [...new Set(paths)], fromDerivation, derivations, scope: 'run', targets: [], evaluationInputs: [] };
}

async function pathsOf(
  request: Exclude<RootRequest, { kind: 'installable' | 'derivation' | 'repository' }>,
  sources: RootSources,
): Promise<readonly StorePath[]> {
  switch (request.kind) {
    case 'store-path':
      return [readStorePath(request.path, sources.storeDir)];
    case 'list':
      return Array.fromAsync(sources.list(request.source));
    case 'channel':
      return Array.fromAsync(sources.channel(request.channel));
  }
}

function readStorePath(text: string, storeDir: string): StorePath {
  try {
    return parseStorePath(text, storeDir);
  } catch (error) {
    if (!(error instanceof NixFormatError)) throw error;
    throw new NixferryError('bad-root', error.message, {
      hint: `a store path is written ${storeDir}/, 32 letters and digits, a dash, a name`,
      cause: error,
    });
  }
}

function rootName(request: RootRequest, paths: readonly StorePath[]): string {
  switch (request.kind) {
    case 'channel':
      return request.channel;
    case 'list':
      return request.source === '-' ? 'list from standard input' : lastPart(request.source);
    case 'repository':
      return repositoryName(request.repository);
    case 'installable':
      return installableName(request.installable);
    default:
      return paths[0] === undefined ? request.request : nameOf(paths[0]);
  }
}

/** `git.example.org/team/lib`, and the branch where it is one alone. */
export function repositoryName({ place, ref }: WantedRepository): string {
  return `${place.slice(0, -'.git'.length)}${ref === undefined ? '' : `?ref=${ref}`}`;
}

/** The attribute, as it is what people call the thing; else the flake or file. */
function installableName(installable: Installable): string {
  if (installable.kind === 'file')
    return installable.attribute === '' ? lastPart(installable.file) : installable.attribute;
  const { reference } = installable;
  return reference.includes('#') ? reference.slice(reference.indexOf('#') + 1) : reference;
}

function lastPart(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}
