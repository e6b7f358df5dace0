import { type EvaluationInputsList, readEvaluationInputs } from '../mirror/evaluation-inputs.ts';
import { privateLayout } from '../mirror/layout.ts';
import { ChangeWatch } from './change-watch.ts';
import { recordsToken } from './records-token.ts';

/**
 * What the records of roots say of evaluation. They can be long, so they are read when first asked for, and again only when one of them has
 * changed; a record of a root that was evaluated has no more than some thousand inputs, and no more than these is kept.
 */
export class RecordedRoots {
  readonly #directory: string;
  readonly #storeDir: string;
  readonly #watch: ChangeWatch;
  #known: { readonly version: number; readonly list: Promise<EvaluationInputsList> } | undefined;

  constructor(directory: string, storeDir: string) {
    this.#directory = directory;
    this.#storeDir = storeDir;
    this.#watch = new ChangeWatch(() => recordsToken(privateLayout(directory).rootsFolder), { checkMs: CHECK_MS });
  }

  /** At most a second old. Throws `damage` when a record cannot be read. */
  async read(): Promise<EvaluationInputsList> {
    const version = await this.#watch.version();
    if (this.#known?.version !== version) {
      const list = readEvaluationInputs({ directory: this.#directory }, this.#storeDir);
      this.#known = { version, list };
      list.catch(() => {
        if (this.#known?.list === list) this.#known = undefined;
      });
    }
    return this.#known.list;
  }
}

const CHECK_MS = 500;
