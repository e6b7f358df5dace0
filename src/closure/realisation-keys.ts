import { mapConcurrent } from '../base/concurrency.ts';
import { LIMITS } from '../base/limits.ts';
import { type DerivationHashes, derivationHashes } from '../nix/derivation-hash.ts';
import { NixFormatError } from '../nix/format-error.ts';
import type { RealisationKey } from '../nix/realisation.ts';
import { baseNameOf, type StorePath } from '../nix/store-path.ts';
import {
  type DerivationGraph,
  type DerivationNode,
  parseProvenDerivation,
  type ReadDerivation,
} from './derivation-graph.ts';

/** The names under which a cache may say what an output of a floating derivation is, those of older versions of Nix first. */
export type RealisationKeysOf = (drvPath: StorePath, outputName: string) => Promise<readonly RealisationKey[]>;

/**
 * Names realisations. For that, the derivation and all that it is built from are read once more and hashed; a graph without floating derivations
 * never asks. Where something below cannot be read, only the name that does without its hash is given.
 */
export function realisationKeys(options: {
  readonly graph: DerivationGraph;
  readonly read: ReadDerivation;
  readonly signal?: AbortSignal | undefined;
}): RealisationKeysOf {
  const hasher = new GraphHasher(options.graph, options.read, options.signal);
  return async (drvPath, outputName) => {
    const keys: RealisationKey[] = [];
    const derivationHash = (await hasher.realisationHashes(drvPath))?.get(outputName);
    if (derivationHash !== undefined) keys.push({ layout: 'realisations', derivationHash, outputName });
    keys.push({ layout: 'build-trace-v2', derivation: baseNameOf(drvPath), outputName });
    return keys;
  };
}

interface NodeHashes {
  /** As others count this one when it is their input. */
  readonly asInput: DerivationHashes;
  /** As realisations name it. */
  readonly asRealisation: DerivationHashes;
}

class GraphHasher {
  readonly #graph: DerivationGraph;
  readonly #read: ReadDerivation;
  readonly #signal: AbortSignal | undefined;
  /** Undefined for what cannot be hashed. */
  readonly #hashes = new Map<StorePath, NodeHashes | undefined>();
  #work: Promise<unknown> = Promise.resolve();

  constructor(graph: DerivationGraph, read: ReadDerivation, signal: AbortSignal | undefined) {
    this.#graph = graph;
    this.#read = read;
    this.#signal = signal;
  }

  /** Undefined where something that goes into the hash cannot be read. */
  async realisationHashes(drvPath: StorePath): Promise<DerivationHashes | undefined> {
    // One after the other: two that begin at a time would read most of the graph twice.
    const work = this.#work.then(() => this.#hash(drvPath));
    this.#work = work.catch(() => {});
    await work;
    return this.#hashes.get(drvPath)?.asRealisation;
  }

  async #hash(drvPath: StorePath): Promise<void> {
    const node = this.#graph.find(drvPath);
    if (node === undefined || this.#hashes.has(drvPath)) return;
    const order = this.#inputsFirst(node);
    for (let start = 0; start < order.length; start += LIMITS.derivationReadsInFlight) {
      const chunk = order.slice(start, start + LIMITS.derivationReadsInFlight);
      const files = await mapConcurrent(chunk, chunk.length, (one) => this.#read(one.drvPath), this.#signal);
      for (const [index, one] of chunk.entries()) this.#hashes.set(one.drvPath, this.#hashOne(one, files[index]));
    }
  }

  #hashOne({ drvPath }: DerivationNode, bytes: Buffer | undefined): NodeHashes | undefined {
    if (bytes === undefined) return undefined;
    const hashesOfInput = (input: StorePath): DerivationHashes => {
      const hashes = this.#hashes.get(input);
      if (hashes === undefined) throw new NixFormatError('derivation', `${input} cannot be hashed`);
      return hashes.asInput;
    };
    try {
      const derivation = parseProvenDerivation(drvPath, bytes, this.#graph.storeDir);
      return {
        asInput: derivationHashes(derivation, hashesOfInput, false),
        asRealisation: derivationHashes(derivation, hashesOfInput, true),
      };
    } catch (error) {
      if (error instanceof NixFormatError) return undefined;
      throw error;
    }
  }

  /** All that goes into the hash of a derivation and is not hashed yet, inputs before what they go into. */
  #inputsFirst(start: DerivationNode): DerivationNode[] {
    const order: DerivationNode[] = [];
    const entered = new Set<DerivationNode>([start]);
    const stack = [{ node: start, inputs: this.#hashedInputs(start).values() }];
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const { value: input, done } = top.inputs.next();
      if (done === true) {
        order.push(top.node);
        stack.pop();
      } else if (!entered.has(input) && !this.#hashes.has(input.drvPath)) {
        entered.add(input);
        stack.push({ node: input, inputs: this.#hashedInputs(input).values() });
      }
    }
    return order;
  }

  /** What a fixed output or an impure one is made from does not go into its hash. */
  #hashedInputs(node: DerivationNode): readonly DerivationNode[] {
    if (node.kind === 'fixed' || node.kind === 'impure') return [];
    return this.#graph.inputsOf(node).map(({ input }) => input);
  }
}
