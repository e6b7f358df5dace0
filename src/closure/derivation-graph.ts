// src/closure knows what a root needs at each scope, and what a client can do with a mirror. It works on derivations and on what its
// callers say of paths; it knows neither Nix nor HTTP. This file holds the graph of derivations, small enough for a whole NixOS.

import { LIMITS } from '../base/limits.ts';
import { type Derivation, parseDerivation } from '../nix/derivation.ts';
import { structuredAttributes } from '../nix/derivation-attributes.ts';
import { derivationKind, type OutputKind } from '../nix/derivation-output.ts';
import { NixFormatError } from '../nix/format-error.ts';
import { hashBytes } from '../nix/hash.ts';
import { nameOf, type StorePath } from '../nix/store-path.ts';
import { makeTextPath } from '../nix/store-path-kinds.ts';
import { OutputNameLists } from './output-names.ts';
import { TextPool } from './text-pool.ts';

/** One derivation, as far as building and substituting depend on it. */
export interface DerivationNode {
  readonly index: number;
  readonly drvPath: StorePath;
  /** Why nothing else is known of it; undefined for a derivation that was read. */
  readonly problem: DerivationProblem | undefined;
  readonly kind: OutputKind;
  /** False where `allowSubstitutes` is off: Nix builds it although a cache has it. */
  readonly allowsSubstitutes: boolean;
  readonly system: string;
  /** Whether it wants outputs of derivations that are outputs themselves; which these are shows only while building. */
  readonly hasDynamicInputs: boolean;
  /** A path is undefined where it is known only after building. */
  readonly outputs: readonly NodeOutput[];
  /** Pairs of numbers, which `inputsOf` explains: a graph has a million of them. */
  readonly inputs: Int32Array;
  readonly sources: readonly StorePath[];
}

export interface NodeInput {
  readonly input: DerivationNode;
  readonly outputNamesId: number;
}

export interface NodeOutput {
  readonly name: string;
  readonly path: StorePath | undefined;
}

/** Nobody has the file; or its bytes are no derivation, or not those that its path names. */
export type DerivationProblem = { readonly kind: 'absent' } | { readonly kind: 'damaged'; readonly detail: string };

export interface DerivationGraph {
  readonly storeDir: string;
  readonly nodes: readonly DerivationNode[];
  find(drvPath: StorePath): DerivationNode | undefined;
  /** What a derivation is built from, and the id of the list of outputs that it wants of each. */
  inputsOf(node: DerivationNode): readonly NodeInput[];
  /** The lists of names that such ids stand for. */
  readonly outputNames: OutputNameLists;
  /** Holds the one copy of each text in the graph. */
  readonly texts: TextPool;
  /** What could not be read. */
  readonly problems: readonly DerivationNode[];
}

export interface LoadGraphOptions {
  /** `.drv` files. */
  readonly roots: Iterable<StorePath>;
  /** The bytes of such a file; undefined where there is none. */
  readonly read: ReadDerivation;
  readonly storeDir: string;
  readonly signal?: AbortSignal | undefined;
}

export type ReadDerivation = (drvPath: StorePath) => Promise<Buffer | undefined>;

/**
 * Reads the roots and all that they are built from, hundreds at a time. A file that is absent or damaged is in the graph as a problem;
 * the rest goes on. What is read proves itself by its path, so the graph has no circles.
 */
export async function loadDerivationGraph(options: LoadGraphOptions): Promise<DerivationGraph> {
  const loader = new GraphLoader(options);
  await loader.load();
  return loader.graph();
}

/** Parses the bytes of a `.drv` file and checks that its path names them. @throws NixFormatError */
export function parseProvenDerivation(drvPath: StorePath, bytes: Buffer, storeDir: string): Derivation {
  const derivation = parseDerivation(bytes, storeDir);
  const references = [...derivation.inputSources, ...derivation.inputDerivations.keys()];
  if (makeTextPath(nameOf(drvPath), hashBytes('sha256', bytes), references, storeDir) === drvPath) return derivation;
  throw new NixFormatError('derivation', `the bytes are not those of ${drvPath}`);
}

class GraphLoader {
  readonly #options: LoadGraphOptions;
  readonly #outputNames = new OutputNameLists();
  readonly #indices = new Map<string, number>();
  readonly #paths: StorePath[] = [];
  readonly #nodes: DerivationNode[] = [];
  readonly #texts = new TextPool();

  constructor(options: LoadGraphOptions) {
    this.#options = options;
    for (const root of options.roots) this.#indexOf(root);
  }

  async load(): Promise<void> {
    const { signal } = this.#options;
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    let next = 0;
    let underWay = 0;
    const go = (): void => {
      while (underWay < LIMITS.derivationReadsInFlight && next < this.#paths.length) {
        underWay += 1;
        this.#readOne(next++).then(() => {
          underWay -= 1;
          if (signal?.aborted === true) reject(signal.reason);
          else go();
        }, reject);
      }
      if (underWay === 0) resolve();
    };
    go();
    await promise;
  }

  graph(): DerivationGraph {
    const { storeDir } = this.#options;
    const nodes = this.#nodes;
    const indices = this.#indices;
    return {
      storeDir,
      nodes,
      outputNames: this.#outputNames,
      texts: this.#texts,
      problems: nodes.filter((node) => node.problem !== undefined),
      find: (drvPath) => {
        const index = indices.get(drvPath);
        return index === undefined ? undefined : nodes[index];
      },
      inputsOf: ({ inputs }) => {
        const list: NodeInput[] = [];
        for (let position = 0; position < inputs.length; position += 2) {
          const input = nodes[inputs[position] ?? -1];
          if (input !== undefined) list.push({ input, outputNamesId: inputs[position + 1] ?? -1 });
        }
        return list;
      },
    };
  }

  async #readOne(index: number): Promise<void> {
    const drvPath = this.#paths[index] as StorePath;
    const bytes = await this.#options.read(drvPath);
    this.#nodes[index] =
      bytes === undefined ? unread(index, drvPath, { kind: 'absent' }) : this.#parse(index, drvPath, bytes);
  }

  #parse(index: number, drvPath: StorePath, bytes: Buffer): DerivationNode {
    try {
      return this.#node(index, drvPath, parseProvenDerivation(drvPath, bytes, this.#options.storeDir));
    } catch (error) {
      if (error instanceof NixFormatError) return unread(index, drvPath, { kind: 'damaged', detail: error.message });
      throw error;
    }
  }

  #node(index: number, drvPath: StorePath, derivation: Derivation): DerivationNode {
    const inputs = new Int32Array(derivation.inputDerivations.size * 2);
    let hasDynamicInputs = false;
    let position = 0;
    for (const [input, { names, dynamic }] of derivation.inputDerivations) {
      inputs[position++] = this.#indexOf(input);
      inputs[position++] = this.#outputNames.idOf(names);
      hasDynamicInputs ||= dynamic.size > 0;
    }
    return {
      index,
      drvPath,
      problem: undefined,
      kind: derivationKind(derivation),
      allowsSubstitutes: allowsSubstitutes(derivation),
      system: this.#texts.share(derivation.system),
      hasDynamicInputs,
      outputs: [...derivation.outputs].map(([name, { path }]) => {
        return { name: this.#texts.share(name), path: path === undefined ? undefined : this.#texts.share(path) };
      }),
      inputs,
      sources: derivation.inputSources.map((source) => this.#texts.share(source)),
    };
  }

  #indexOf(drvPath: StorePath): number {
    let index = this.#indices.get(drvPath);
    if (index === undefined) {
      index = this.#paths.length;
      const path = this.#texts.share(drvPath);
      this.#paths.push(path);
      this.#indices.set(path, index);
    }
    return index;
  }
}

/** (Nix: `ParsedDerivation::substitutesAllowed`, `getBoolAttr`) */
function allowsSubstitutes(derivation: Derivation): boolean {
  const json = derivation.env.get('__json');
  if (json === undefined) return (derivation.env.get(ALLOW_SUBSTITUTES) ?? '1') === '1';
  // Most do not say, and the JSON can be large.
  if (!json.includes(ALLOW_SUBSTITUTES)) return true;
  const value = structuredAttributes(derivation)?.get(ALLOW_SUBSTITUTES);
  if (value === undefined || typeof value === 'boolean') return value ?? true;
  throw new NixFormatError('derivation', `its attribute ${ALLOW_SUBSTITUTES} is neither true nor false`);
}

const ALLOW_SUBSTITUTES = 'allowSubstitutes';

function unread(index: number, drvPath: StorePath, problem: DerivationProblem): DerivationNode {
  return {
    index,
    drvPath,
    problem,
    kind: 'input-addressed',
    allowsSubstitutes: true,
    system: '',
    hasDynamicInputs: false,
    outputs: [],
    inputs: new Int32Array(0),
    sources: [],
  };
}
