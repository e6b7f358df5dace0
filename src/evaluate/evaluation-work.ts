import { mapConcurrent } from '../base/concurrency.ts';
import { NixferryError } from '../base/errors.ts';
import { parseStorePath, type StorePath } from '../nix/index.ts';
import { type ConfigurationTarget, locateConfiguration } from './configuration-target.ts';
import { chooseFinder, type Finder, type Found } from './evaluate-found.ts';
import type { EvaluatedTarget, EvaluationOptions, EvaluationRequest } from './evaluation.ts';
import type { EvaluationStore } from './evaluation-store.ts';
import { fetchInputs, type LockedFlake, lockFlake } from './flake.ts';
import type { LockedInput } from './flake-lock.ts';
import { type FoundInputs, findInputs, type KnownFlake } from './found-inputs.ts';
import { describeInstallable, selectDerivations } from './installable.ts';
import { evaluationsAtOnce } from './memory-bound.ts';
import { NIXOS_PROBES } from './nixos-probes.ts';
import { findReadTrees } from './search-path.ts';
import { listFolders } from './source-copies.ts';
import { uniqueVariants, type Variant } from './variant.ts';
import { goesAround, variantArguments } from './variant-arguments.ts';

/** What the steps of evaluating one root share; each adds what it found. */
export interface EvaluationWork {
  readonly request: EvaluationRequest;
  readonly options: EvaluationOptions;
  readonly store: EvaluationStore;
  readonly flake: LockedFlake | undefined;
  readonly target: ConfigurationTarget;
  readonly find: Finder;
  /** As Nix named them. */
  readonly files: Set<string>;
  readonly copies: Set<string>;
  readonly originals: Set<string>;
  /** Repositories of git, by their addresses. */
  readonly repositories: Set<string>;
}

/** What the root is without any change. */
export interface EvaluatedBase {
  readonly isNixos: boolean;
  readonly canChange: boolean;
  readonly heapBytes: number | undefined;
  readonly targets: readonly EvaluatedTarget[];
}

/** A flake is locked before it is evaluated; undefined for a file. */
export async function lockRoot(
  { installable }: EvaluationRequest,
  options: EvaluationOptions,
): Promise<LockedFlake | undefined> {
  if (installable.kind === 'file') return undefined;
  const [reference = ''] = installable.reference.split('#');
  return lockFlake(reference === '' ? '.' : reference, options.storeDir, options);
}

export async function beginWork(
  request: EvaluationRequest,
  options: EvaluationOptions,
  store: EvaluationStore,
  flake: LockedFlake | undefined,
): Promise<EvaluationWork> {
  const { installable } = request;
  const located = await locateConfiguration(installable, request.settings, options);
  const target =
    flake === undefined || located.installable.kind === 'file'
      ? located
      : { ...located, installable: { ...located.installable, reference: lockedReference(located.installable, flake) } };
  const find = await chooseFinder(store, options.storeDir, options.signal);
  return {
    request,
    options,
    store,
    flake,
    target,
    find,
    files: new Set(),
    copies: new Set(),
    originals: new Set(),
    repositories: new Set(),
  };
}

/** The root as it is, for each system that is asked for. */
export async function evaluateBase(work: EvaluationWork): Promise<EvaluatedBase> {
  work.options.onProgress({ type: 'phase', phase: `evaluating ${describeInstallable(work.request.installable)}` });
  const found: Found[] = [];
  const targets: EvaluatedTarget[] = [];
  for (const system of systemsOf(work)) {
    const one = await findChanged(work, undefined, system, false);
    found.push(one);
    targets.push(...targetsOf(work, one));
  }
  const heaps = found.map(({ evaluated }) => evaluated.heapBytes).filter((bytes) => bytes !== undefined);
  return {
    isNixos: found.some(({ description }) => description.isNixos),
    canChange: found.every(({ description }) => description.canChange),
    heapBytes: heaps.length === 0 ? undefined : Math.max(...heaps),
    targets,
  };
}

/**
 * Every variant of the root, as many at a time as memory is free for: first the ones that were given, then the built-in probes. A probe that this
 * configuration does not take is told of, and left out.
 */
export async function evaluateVariants(work: EvaluationWork, base: EvaluatedBase): Promise<EvaluatedTarget[]> {
  const { request, options } = work;
  const given = uniqueVariants(applicable(work, base));
  const probes = base.isNixos && request.probes ? NIXOS_PROBES : [];
  const jobs = [...given, ...probes].flatMap((variant) => systemsOf(work).map((system) => ({ variant, system })));
  if (jobs.length === 0) return [];
  const atOnce = evaluationsAtOnce(base.heapBytes);
  const shown = describeInstallable(request.installable);
  options.onProgress({ type: 'phase', phase: `evaluating variants of ${shown}`, totalItems: jobs.length });
  const targets = await mapConcurrent(
    jobs,
    atOnce,
    async ({ variant, system }) => {
      const found = await evaluateVariant(work, base, variant, system, NIXOS_PROBES.includes(variant));
      options.onProgress({ type: 'advance', items: 1 });
      return found;
    },
    options.signal,
  );
  return targets.flat();
}

/** All that evaluating has read, fetched or had built by now, and what flake.lock names besides. */
export async function collectInputs(work: EvaluationWork): Promise<FoundInputs> {
  const { request, options, store, flake, files, copies, originals } = work;
  const flakes = new Map<string, KnownFlake>();
  if (flake !== undefined) {
    const there = await store.readPaths(options.signal);
    const source = await sourceOf(flake, there, options);
    flakes.set(source, { name: flake.reference });
    if (there.has(source)) for (const folder of listFolders(store.physical(source))) originals.add(folder);
    for (const input of flake.inputs) if (input.path !== undefined) flakes.set(input.path, knownFlake(input));
    await fetchUnread(work, flake, there);
  }
  const trees = await findReadTrees(files, store, options.storeDir, request.settings, options);
  const channels = new Map<string, string>(trees.map(({ path, name }) => [path, name]));
  return findInputs(store, { flakes, channels, copies, originals }, options.storeDir, options.signal);
}

/**
 * Repositories that evaluating has asked for something. Those of flake inputs are not among them, which whoever has the lock file fetches by their contents;
 * they are told of, since moving such an input on asks its repository.
 */
export function fetchedRepositories({ flake, repositories, options }: EvaluationWork): string[] {
  const ofInputs = new Set<string>();
  for (const { locked } of flake?.inputs ?? []) {
    const url = locked?.['type'] === 'git' ? locked['url'] : undefined;
    if (typeof url === 'string') ofInputs.add(url);
  }
  for (const url of ofInputs) {
    const message = `flake inputs come from ${url}: their contents are carried; for nix flake update behind the gap, carry the repository: nixferry collect git+${url}`;
    options.onProgress({ type: 'notice', message });
  }
  return [...repositories].filter((url) => !ofInputs.has(url)).toSorted();
}

function knownFlake({ name, locked, original }: LockedInput): KnownFlake {
  return {
    name,
    ...(locked === undefined ? {} : { locked }),
    ...(original === undefined ? {} : { original }),
  };
}

/** Some Nix, where it has to write flake.lock, tells of the source as it was before. */
async function sourceOf(
  flake: LockedFlake,
  there: ReadonlyMap<StorePath, unknown>,
  options: EvaluationOptions,
): Promise<StorePath> {
  if (there.has(flake.path)) return flake.path;
  return (await lockFlake(flake.reference, options.storeDir, options)).path;
}

/** What evaluation did not read, a changed configuration may. */
async function fetchUnread(
  { request, options, store }: EvaluationWork,
  flake: LockedFlake,
  there: ReadonlyMap<StorePath, unknown>,
): Promise<void> {
  const unread = flake.inputs.filter(({ path }) => path === undefined || !there.has(path));
  for (const { input, error } of await fetchInputs(store, unread, request.settings, options)) {
    // Newer Nix cannot fetch it, and need not: it reads it where its parent lies.
    if (input.isInsideParent) continue;
    const message = `the flake input ${input.name}, which evaluation did not read, is left out: ${lastError(error)}`;
    options.onProgress({ type: 'notice', message });
  }
}

async function evaluateVariant(
  work: EvaluationWork,
  base: EvaluatedBase,
  variant: Variant,
  system: string | undefined,
  isProbe: boolean,
): Promise<EvaluatedTarget[]> {
  const shown = describeInstallable(work.request.installable);
  try {
    const found = await findChanged(work, variant, system, base.isNixos);
    return targetsOf(work, found, variant.name);
  } catch (error) {
    if (!(error instanceof NixferryError) || error.code !== 'nix-failed') throw error;
    if (!isProbe) {
      throw new NixferryError('nix-failed', error.message, {
        hint: 'correct the variant or leave it out; the text above is what Nix says of it',
        cause: error,
      });
    }
    const message = `the probe '${variant.name}' is left out, ${shown} does not take it: ${lastError(error)}`;
    work.options.onProgress({ type: 'notice', message });
    return [];
  }
}

/** The variants that count for this root. Standing ones pass over what is no configuration. */
function applicable({ request, target }: EvaluationWork, base: EvaluatedBase): Variant[] {
  if (base.canChange || goesAround(target, request.settings, base.isNixos)) return [...request.variants];
  const asked = request.variants.find(({ isStanding }) => isStanding !== true);
  if (asked === undefined) return [];
  const shown = describeInstallable(request.installable);
  throw new NixferryError('usage', `${shown} is not made of modules, so the variant '${asked.name}' changes nothing`, {
    hint: 'variants are for configurations of NixOS, home-manager and nix-darwin, as .#nixosConfigurations.NAME; give other roots in a command of their own',
  });
}

async function findChanged(
  work: EvaluationWork,
  variant: Variant | undefined,
  system: string | undefined,
  isNixos: boolean,
): Promise<Found> {
  const { request, options, target } = work;
  const shown = describeInstallable(request.installable);
  const { workingDirectory, signal } = options;
  const found = await work.find({
    args: variantArguments(target, request.settings, variant, { workingDirectory, system, isNixos }),
    purpose: `evaluating ${shown}${variant === undefined ? '' : ` with the variant '${variant.name}'`}`,
    workingDirectory,
    signal,
  });
  for (const file of found.evaluated.log.evaluatedFiles) work.files.add(file);
  for (const copy of found.evaluated.log.copiedSources) work.copies.add(copy);
  for (const original of found.evaluated.log.originals) work.originals.add(original);
  for (const repository of found.evaluated.log.repositories) work.repositories.add(repository);
  return found;
}

function targetsOf({ request, options }: EvaluationWork, { description }: Found, variant?: string): EvaluatedTarget[] {
  const named = variant === undefined ? {} : { variant };
  return selectDerivations(description, request.installable).map(({ drvPath, outputs }) =>
    Object.assign({ drvPath: parseStorePath(drvPath, options.storeDir), outputs }, named),
  );
}

function systemsOf({ request }: EvaluationWork): readonly (string | undefined)[] {
  const { systems } = request.settings;
  return systems.length === 0 ? [undefined] : systems;
}

function lockedReference({ reference }: { readonly reference: string }, flake: LockedFlake): string {
  const hash = reference.indexOf('#');
  return flake.reference + (hash === -1 ? '' : reference.slice(hash));
}

/** The last thing that Nix said, in one line. */
function lastError(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const last = text.lastIndexOf('error:');
  return (last === -1 ? text : text.slice(last + 'error:'.length)).trim().replaceAll(/\s+/g, ' ').slice(0, 300);
}
