import { join } from 'node:path';
import { derivationFiles } from '../closure/derivation-files.ts';
import type { ReadDerivation } from '../closure/derivation-graph.ts';
import {
  type Evaluation,
  type EvaluationOptions,
  type EvaluationRequest,
  evaluateRoot,
} from '../evaluate/evaluation.ts';
import type { LocalStore } from '../evaluate/local-store.ts';
import { readPrivateNix, STORE_ROOT } from '../evaluate/private-nix.ts';
import type { StorePath } from '../nix/index.ts';

/** The evaluations of one run of a command: their stores are read until all is fetched, and then go away. */
export class Evaluations implements AsyncDisposable {
  readonly #open: Evaluation[] = [];
  /** Of `.drv` files: first those of the evaluations, the latest first, then what Nix has on this machine. */
  readonly #readers: ReadDerivation[];

  constructor(storeDir: string) {
    const privateNix = readPrivateNix();
    const inside = privateNix === undefined ? [] : [join(privateNix.folder, STORE_ROOT, storeDir)];
    this.#readers = [storeDir, ...inside].map(derivationFiles);
  }

  readonly #instantiators = new Map<StorePath, (signal: AbortSignal) => Promise<void>>();

  async open(request: EvaluationRequest, options: EvaluationOptions): Promise<Evaluation> {
    const evaluation = await evaluateRoot(request, options);
    this.#open.push(evaluation);
    this.#readers.unshift(derivationFiles(evaluation.storeFolder));
    return evaluation;
  }

  get stores(): LocalStore[] {
    return this.#open.map(({ store }) => store);
  }

  /** The bytes of a `.drv` file, from an evaluation or from the local store. */
  async derivation(drvPath: StorePath): Promise<Buffer | undefined> {
    for (const read of this.#readers) {
      const bytes = await read(drvPath);
      if (bytes !== undefined) return bytes;
    }
    return undefined;
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
