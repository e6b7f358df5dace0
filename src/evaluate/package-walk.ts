import { z } from 'zod';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { FEATURES } from './evaluate-value.ts';
import type { NixSettings } from './evaluation-request.ts';
import type { EvaluationStore } from './evaluation-store.ts';
import { runNix } from './nix-command.ts';
import { nixString } from './nix-value.ts';

/** Attributes from the set down. */
export type AttributePath = readonly string[];

export interface PackageWalkOptions {
  /** An expression for the folder or file of a package set in the manner of nixpkgs: a function of `config`, `overlays` and `system`, or a set. */
  readonly nixpkgs: string;
  readonly settings: NixSettings;
  readonly system: string | undefined;
  readonly store: EvaluationStore;
  readonly workingDirectory: string;
  readonly signal: AbortSignal;
}

/** What evaluating some attributes together brought. */
export interface WalkedBatch {
  readonly paths: readonly AttributePath[];
  /** `.drv` files, in the evaluation store now. */
  readonly derivations: readonly { readonly path: AttributePath; readonly drvPath: string }[];
  /** Sets of packages among them, with what is in these: still to be walked. */
  readonly inner: readonly AttributePath[];
  /** What could not be evaluated, not even alone. */
  readonly failed: readonly AttributePath[];
}

/** The names in the set; evaluates none of what they stand for. */
export async function listPackages(options: PackageWalkOptions): Promise<AttributePath[]> {
  const names = z.array(z.string()).parse(await evaluate(options, `builtins.attrNames (${setExpression(options)})`));
  return names.map((name) => [name]);
}

/** What identifies the set: the path where its files are. */
export async function locatePackages(options: PackageWalkOptions): Promise<string> {
  return z.string().parse(await evaluate(options, `toString (${options.nixpkgs})`));
}

/**
 * Evaluates attributes in a process of their own, whose memory is bounded. Where that fails, in two of half as many each, and so on: one bad package does
 * not cost the others.
 */
export async function walkBatch(paths: readonly AttributePath[], options: PackageWalkOptions): Promise<WalkedBatch> {
  const { signal } = options;
  try {
    const found = answerSchema.parse(await evaluate(options, lookExpression(paths, options)));
    const derivations: { readonly path: AttributePath; readonly drvPath: string }[] = [];
    const inner: AttributePath[] = [];
    const failed: AttributePath[] = [];
    for (const [index, path] of paths.entries()) {
      const { drvPath, names = [], failed: hasFailed } = found[index] ?? {};
      if (drvPath !== undefined) derivations.push({ path, drvPath });
      for (const name of names) inner.push(path.concat(name));
      if (hasFailed === true) failed.push(path);
    }
    return { paths, derivations, inner, failed };
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof NixferryError) || error.code !== 'nix-failed') throw error;
    if (paths.length === 1) return { paths, derivations: [], inner: [], failed: paths };
  }
  const middle = Math.ceil(paths.length / 2);
  const first = await walkBatch(paths.slice(0, middle), options);
  const second = await walkBatch(paths.slice(middle), options);
  return {
    paths,
    derivations: [...first.derivations, ...second.derivations],
    inner: [...first.inner, ...second.inner],
    failed: [...first.failed, ...second.failed],
  };
}

/** Makes the derivations of a package valid in the local store, so that any of them can be built there. */
export async function instantiatePackage(
  path: AttributePath,
  options: Omit<PackageWalkOptions, 'store'>,
): Promise<void> {
  await evaluate({ ...options, store: undefined }, lookExpression([path], options));
}

type EvaluateOptions = Omit<PackageWalkOptions, 'store'> & { readonly store: EvaluationStore | undefined };

const answerSchema = z.array(
  z.object({
    drvPath: z.string().optional(),
    names: z.array(z.string()).optional(),
    failed: z.boolean().optional(),
  }),
);

async function evaluate(options: EvaluateOptions, expression: string): Promise<unknown> {
  const { settings, store, workingDirectory, signal } = options;
  const printed = await runNix(
    'nix',
    [
      ...FEATURES,
      'eval',
      '--json',
      '--impure',
      '--option',
      'eval-cache',
      'false',
      // What only building tells is no source.
      '--option',
      'allow-import-from-derivation',
      'false',
      ...(store?.evaluateHere ?? []),
      ...settings.searchPath.flatMap((entry) => ['-I', entry]),
      '--expr',
      expression,
    ],
    {
      purpose: 'evaluating packages for their sources',
      workingDirectory,
      signal,
      environment: { GC_MAXIMUM_HEAP_SIZE: String(heapBytes()) },
    },
  );
  return JSON.parse(printed.toString('utf8'));
}

/** Nix gives up at this much, rather than the system taking it from others. */
function heapBytes(): number {
  return Math.min(LIMITS.packageWalkHeapBytes, Math.floor(process.availableMemory() * MEMORY_SHARE));
}

const MEMORY_SHARE = 0.6;

/** Sources are fetched whatever Nix thinks of their licences, or of whether they can be built. */
function setExpression({ nixpkgs, settings, system }: Omit<PackageWalkOptions, 'store'>): string {
  const typed = settings.arguments.map(({ kind, name, value }) => {
    return `${name} = ${kind === 'string' ? nixString(value) : `(${value})`};`;
  });
  return `
    let
      imported = import (${nixpkgs});
      arguments = {
        ${system === undefined ? '' : `system = ${nixString(system)};`}
        overlays = [ ];
        config = {
          allowUnfree = true;
          allowBroken = true;
          allowUnsupportedSystem = true;
          allowInsecurePredicate = _: true;
          allowAliases = false;
          checkMeta = false;
        };
      } // { ${typed.join(' ')} };
      known = builtins.functionArgs imported;
    in
    if builtins.isFunction imported then
      imported (if known == { } then arguments else builtins.intersectAttrs known arguments)
    else
      imported`;
}

function lookExpression(paths: readonly AttributePath[], options: Omit<PackageWalkOptions, 'store'>): string {
  const lists = paths.map((path) => `[ ${path.map((name) => nixString(name)).join(' ')} ]`);
  return `
    let
      set = ${setExpression(options)};
      look = path:
        let value = builtins.foldl' (inner: name: inner.\${name}) set path; in
        if !builtins.isAttrs value then { }
        else if (value.type or null) == "derivation" then { drvPath = builtins.unsafeDiscardStringContext value.drvPath; }
        else if (value.recurseForDerivations or false) == true then { names = builtins.attrNames value; }
        else { };
      attempt = path:
        let tried = builtins.tryEval (let found = look path; in builtins.deepSeq found found); in
        if tried.success then tried.value else { failed = true; };
    in
    map attempt [ ${lists.join(' ')} ]`;
}
