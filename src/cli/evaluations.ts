import { readFileIfExists } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import {
  type Evaluation,
  type EvaluationOptions,
  type EvaluationRequest,
  evaluateRoot,
} from '../evaluate/evaluation.ts';
import type { LocalStore } from '../evaluate/local-store.ts';
import { locateStorePath } from '../evaluate/private-nix.ts';
import type { StorePath } from '../nix/index.ts';

/** The evaluations of one run of a command: their stores are read until all is fetched, and then go away. */
export class Evaluations implements AsyncDisposable {
  readonly #open: Evaluation[] = [];

  readonly #instantiators = new Map<StorePath, (signal: AbortSignal) => Promise<void>>();

  async open(request: EvaluationRequest, options: EvaluationOptions): Promise<Evaluation> {
    const evaluation = await evaluateRoot(request, options);
    this.#open.push(evaluation);
    return evaluation;
  }

  get stores(): LocalStore[] {
    return this.#open.map(({ store }) => store);
  }

  /** The bytes of a `.drv` file, from an evaluation or from the local store. */
  async derivation(drvPath: StorePath): Promise<Buffer | undefined> {
    for (const evaluation of this.#open) {
      const bytes = await evaluation.derivation(drvPath);
      if (bytes !== undefined) return bytes;
    }
    return readFileIfExists(locateStorePath(drvPath), LIMITS.derivationBytes);
  }

  /** How a derivation comes into the local store that is in no evaluation store any more. */
  addInstantiator(drvPath: StorePath, instantiate: (signal: AbortSignal) => Promise<void>): void {
    this.#instantiators.set(drvPath, instantiate);
  }

  /** Makes a derivation of an evaluation valid in the local store; of one that no evaluation has, nothing happens. */
  async bring(drvPath: StorePath, signal: AbortSignal): Promise<void> {
    const instantiate = this.#instantiators.get(drvPath);
    if (instantiate !== undefined) return instantiate(signal);
    for (const evaluation of this.#open) {
      if ((await evaluation.store.query([drvPath], signal)).size === 0) continue;
      await evaluation.bring(drvPath, signal);
      return;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const evaluation of this.#open.splice(0)) await evaluation[Symbol.asyncDispose]();
  }
}
