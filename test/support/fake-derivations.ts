// Derivations without Nix: `.drv` files whose paths name their bytes, and the paths of their outputs, as far as these matter to a graph.

import {
  type Derivation,
  type DerivationOutput,
  formatDerivation,
  hashBytes,
  makeOutputPath,
  makeTextPath,
  type StorePath,
} from '../../src/nix/index.ts';

export interface FakeDerivation {
  readonly drvPath: StorePath;
  /** By output name; undefined for floating outputs. */
  readonly outputs: Readonly<Record<string, StorePath | undefined>>;
  /** The first output. */
  readonly out: StorePath;
}

export interface FakeDerivationSpec {
  readonly outputs?: readonly string[];
  /** Derivations and the outputs wanted of each (`out` unless given). */
  readonly inputs?: readonly (FakeDerivation | readonly [FakeDerivation, ...string[]])[];
  readonly sources?: readonly StorePath[];
  readonly env?: Readonly<Record<string, string>>;
  readonly kind?: 'input-addressed' | 'fixed' | 'floating' | 'deferred' | 'impure';
}

const STORE_DIR = '/nix/store';

/** A set of `.drv` files to read from. */
export class FakeDerivations {
  readonly files = new Map<StorePath, Buffer>();

  add(name: string, spec: FakeDerivationSpec = {}): FakeDerivation {
    const { outputs = ['out'], inputs = [], sources = [], env = {}, kind = 'input-addressed' } = spec;
    const seed = hashBytes('sha256', JSON.stringify([name, spec]));
    const paths = outputs.map((output) => [output, makeOutputPath(output, seed, name, STORE_DIR)] as const);
    const derivation: Derivation = {
      outputs: new Map(paths.map(([output, path]) => [output, outputOf(kind, path)])),
      inputDerivations: new Map(
        inputs.map((input) => {
          const [drv, ...names] = 'drvPath' in input ? [input] : input;
          return [drv.drvPath, { names: names.length === 0 ? ['out'] : names, dynamic: new Map() }];
        }),
      ),
      inputSources: sources,
      system: 'x86_64-linux',
      builder: '/bin/sh',
      args: [],
      env: new Map(Object.entries({ name, ...env })),
      encoding: 'utf8',
    };
    const bytes = formatDerivation(derivation);
    const references = [...derivation.inputDerivations.keys(), ...sources];
    const drvPath = makeTextPath(`${name}.drv`, hashBytes('sha256', bytes), references, STORE_DIR);
    this.files.set(drvPath, bytes);
    const known = paths.map(([output, path]) => [output, KINDS_WITH_PATHS.has(kind) ? path : undefined]);
    return { drvPath, outputs: Object.fromEntries(known), out: paths[0]?.[1] ?? ('' as StorePath) };
  }

  readonly read = async (drvPath: StorePath): Promise<Buffer | undefined> => this.files.get(drvPath);
}

const KINDS_WITH_PATHS: ReadonlySet<string> = new Set(['input-addressed', 'fixed']);

function outputOf(kind: FakeDerivationSpec['kind'], path: StorePath): DerivationOutput {
  if (kind === 'fixed') return { path, hashAlgorithm: 'sha256', hash: '0'.repeat(64) };
  if (kind === 'floating') return { path: undefined, hashAlgorithm: 'r:sha256', hash: '' };
  if (kind === 'deferred') return { path: undefined, hashAlgorithm: '', hash: '' };
  if (kind === 'impure') return { path: undefined, hashAlgorithm: 'r:sha256', hash: 'impure' };
  return { path, hashAlgorithm: '', hash: '' };
}
