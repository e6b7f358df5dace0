import type { DerivationGraph } from '../closure/derivation-graph.ts';
import type { StorePath } from '../nix/index.ts';
import { type FixedSource, parseFixedSource } from '../sources/fixed-source.ts';
import type { ReadDerivation } from '../sources/mirror-lists.ts';
import type { SourceSupply } from '../sources/source-supply.ts';

export interface KnownSourcesOptions {
  readonly readDerivation: ReadDerivation;
  readonly storeDir: string;
  /** Undefined where sources that no cache has are not looked for. */
  readonly supply: SourceSupply | undefined;
}

/** The fixed outputs of the derivations that were met, and whether they may be had without a cache. */
export class KnownSources {
  readonly #options: KnownSourcesOptions;
  /** By output path. */
  readonly #derivations = new Map<StorePath, StorePath>();
  readonly #sources = new Map<StorePath, Promise<FixedSource | undefined>>();

  constructor(options: KnownSourcesOptions) {
    this.#options = options;
  }

  learn(graph: DerivationGraph): void {
    for (const { kind, drvPath, outputs } of graph.nodes) {
      if (kind !== 'fixed') continue;
      for (const { path } of outputs) if (path !== undefined) this.#derivations.set(path, drvPath);
    }
  }

  /** Reads the derivation, and knows its output if that is fixed. */
  async learnFrom(drvPath: StorePath): Promise<void> {
    const source = await this.#parse(drvPath);
    if (source !== undefined) this.add(source);
  }

  /** One whose derivation was read already. */
  add(source: FixedSource): void {
    this.#derivations.set(source.storePath, source.drvPath);
    this.#sources.set(source.storePath, Promise.resolve(source));
  }

  /** What a derivation declares of the path; undefined where none does. */
  describe(path: StorePath): Promise<FixedSource | undefined> {
    let source = this.#sources.get(path);
    if (source === undefined) {
      source = this.#read(path);
      this.#sources.set(path, source);
    }
    return source;
  }

  /** The same, if there is any place to have it from. */
  async find(path: StorePath): Promise<FixedSource | undefined> {
    const { supply } = this.#options;
    if (supply === undefined) return undefined;
    const source = await this.describe(path);
    return source !== undefined && supply.mayHave(source) ? source : undefined;
  }

  async #read(path: StorePath): Promise<FixedSource | undefined> {
    const drvPath = this.#derivations.get(path);
    if (drvPath === undefined) return undefined;
    const source = await this.#parse(drvPath);
    return source?.storePath === path ? source : undefined;
  }

  async #parse(drvPath: StorePath): Promise<FixedSource | undefined> {
    const { readDerivation, storeDir } = this.#options;
    const bytes = await readDerivation(drvPath);
    return bytes === undefined ? undefined : parseFixedSource(drvPath, bytes, storeDir);
  }
}
