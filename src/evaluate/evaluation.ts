import type { OnProgress } from '../base/progress.ts';
import type { StorePath } from '../nix/index.ts';
import { FEATURES } from './evaluate-value.ts';
import type { NixSettings } from './evaluation-request.ts';
import { evaluationStoreAsLocal, openEvaluationStore } from './evaluation-store.ts';
import {
  beginWork,
  collectInputs,
  evaluateBase,
  evaluateVariants,
  fetchedRepositories,
  lockRoot,
} from './evaluation-work.ts';
import type { EvaluationInput } from './found-inputs.ts';
import type { Installable } from './installable.ts';
import type { LocalStore } from './local-store.ts';
import { runNix } from './nix-command.ts';
import type { Variant } from './variant.ts';

/** A root to evaluate, and the changes to evaluate it with. */
export interface EvaluationRequest {
  readonly installable: Installable;
  readonly variants: readonly Variant[];
  /** Evaluates a NixOS configuration with each of NIXOS_PROBES, too. */
  readonly probes: boolean;
  readonly settings: NixSettings;
}

export interface EvaluationOptions {
  readonly storeDir: string;
  readonly workingDirectory: string;
  /** Holds the evaluation store; the system's temporary folder unless given. */
  readonly temporaryFolder?: string | undefined;
  readonly onProgress: OnProgress;
  readonly signal: AbortSignal;
}

/** A derivation that Nix is asked to build for the root, or for one of its variants. */
export interface EvaluatedTarget {
  /** The variant's name; absent for the root itself. */
  readonly variant?: string;
  readonly drvPath: StorePath;
  readonly outputs: readonly string[];
}

/** All that evaluating a root brought; the files behind it go when it is disposed of. */
export interface Evaluation extends AsyncDisposable {
  readonly isNixos: boolean;
  /** First those of the root, then those of each variant, in order. */
  readonly targets: readonly EvaluatedTarget[];
  readonly inputs: readonly EvaluationInput[];
  /** Addresses of repositories of git that `fetchGit` has fetched from; those of flake inputs that are locked are not asked. */
  readonly repositoryUrls: readonly string[];
  /** Where derivations, sources and fetched inputs are to be had; everything else that was found is in the local store. */
  readonly store: LocalStore;
  /** Has the files of that store, `.drv` files among them, each under its base name. */
  readonly storeFolder: string;
  /** Makes a derivation, and all that it is built from, valid in the local store, so that it can be built there. */
  bring(drvPath: StorePath, signal: AbortSignal): Promise<void>;
}

/**
 * Evaluates a root and its variants, and finds out what that needs: into a store that is empty before, so that what is in it
 * afterwards was needed. The local store gives what it has; import-from-derivation is built there.
 * @throws NixferryError `nix-not-found`, `nix-failed` with the text of Nix; `bad-root` when the root is nothing that can be built; `usage` when
 *   it takes no variants or no arguments.
 */
export async function evaluateRoot(request: EvaluationRequest, options: EvaluationOptions): Promise<Evaluation> {
  const { storeDir, temporaryFolder } = options;
  await using cleanUp = new AsyncDisposableStack();
  const store = cleanUp.use(await openEvaluationStore(storeDir, temporaryFolder));
  const flake = await lockRoot(request, options);
  const work = await beginWork(request, options, store, flake);
  const base = await evaluateBase(work);
  const changed = await evaluateVariants(work, base);
  const { inputs, proven } = await collectInputs(work);
  const kept = cleanUp.move();
  return {
    isNixos: base.isNixos,
    targets: [...base.targets, ...changed],
    inputs,
    repositoryUrls: fetchedRepositories(work),
    store: evaluationStoreAsLocal(store, proven),
    storeFolder: store.filesFolder,
    async bring(drvPath, signal) {
      const args = [...FEATURES, 'copy', '--derivation', '--no-check-sigs', '--from', store.uri, drvPath];
      await runNix('nix', args, { purpose: `copying ${drvPath} into the local store`, signal });
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}
