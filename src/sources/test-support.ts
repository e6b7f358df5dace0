import {
  type Derivation,
  formatDerivation,
  formatHash,
  type Hash,
  hashAlgorithm,
  hashBytes,
  makeFixedOutputPath,
  makeTextPath,
  type StorePath,
} from '../nix/index.ts';
import { describeFixedSource, type FixedSource } from './fixed-source.ts';

const STORE_DIR = '/nix/store';

export interface FetchDerivation {
  readonly drvPath: StorePath;
  readonly bytes: Buffer;
  readonly source: FixedSource;
}

/** A derivation with a fixed output, as a fetcher makes them. */
export function fetchDerivation(
  name: string,
  method: 'flat' | 'nar',
  hash: Hash,
  env: Readonly<Record<string, string>>,
  { builder = '/bin/sh', inputs = [] as readonly StorePath[] } = {},
): FetchDerivation {
  const algorithm = `${method === 'nar' ? 'r:' : ''}${hashAlgorithm(hash)}`;
  const path = makeFixedOutputPath(method, hash, name, STORE_DIR);
  const derivation: Derivation = {
    outputs: new Map([
      ['out', { path, hashAlgorithm: algorithm, hash: formatHash(hash, 'base16', { prefix: false }) }],
    ]),
    inputDerivations: new Map(inputs.map((input) => [input, { names: ['out'], dynamic: new Map() }])),
    inputSources: [],
    system: builder.startsWith('builtin:') ? 'builtin' : 'x86_64-linux',
    builder,
    args: [],
    env: new Map(Object.entries({ name, out: path, ...env })),
    encoding: 'utf8',
  };
  const bytes = formatDerivation(derivation);
  const drvPath = makeTextPath(`${name}.drv`, hashBytes('sha256', bytes), inputs, STORE_DIR);
  const source = describeFixedSource(drvPath, derivation, STORE_DIR);
  if (source === undefined) throw new Error('this derivation has a fixed output');
  return { drvPath, bytes, source };
}
