import { type Derivation, formatDerivation, type InputOutputs } from './derivation.ts';
import { derivationKind } from './derivation-output.ts';
import { NixFormatError } from './format-error.ts';
import { formatHash, type Hash, hashBytes } from './hash.ts';
import type { StorePath } from './store-path.ts';

/** The hash of each output of a derivation, by the output's name. */
export type DerivationHashes = ReadonlyMap<string, Hash>;

/**
 * The hash of a derivation, which stays the same when only the way changes in which a fixed output below it is fetched: each input counts as its
 * own such hash. With `maskOutputs` it leaves out where the outputs go, which is how realisations name their derivation; without, it is what
 * counts as an input of another. (Nix: `hashDerivationModulo`, `staticOutputHashes`)
 * @param hashesOfInput the hashes, made without `maskOutputs`, of an input; not asked for fixed and impure derivations.
 * @throws NixFormatError for dynamic derivations, and when an input has no such output.
 */
export function derivationHashes(
  derivation: Derivation,
  hashesOfInput: (drvPath: StorePath) => DerivationHashes,
  maskOutputs: boolean,
): DerivationHashes {
  const kind = derivationKind(derivation);
  if (kind === 'fixed') return fixedHashes(derivation);
  const hash = kind === 'impure' ? IMPURE : hashBytes('sha256', formatModulo(derivation, hashesOfInput, maskOutputs));
  return new Map([...derivation.outputs.keys()].map((name) => [name, hash]));
}

const IMPURE = hashBytes('sha256', 'impure');

function fixedHashes({ outputs }: Derivation): DerivationHashes {
  return new Map(
    [...outputs].map(([name, { hashAlgorithm, hash, path }]) => {
      return [name, hashBytes('sha256', `fixed:out:${hashAlgorithm}:${hash}:${path ?? ''}`)];
    }),
  );
}

function formatModulo(
  derivation: Derivation,
  hashesOfInput: (drvPath: StorePath) => DerivationHashes,
  maskOutputs: boolean,
): Buffer {
  const inputs = new Map<string, Set<string>>();
  for (const [drvPath, { names, dynamic }] of derivation.inputDerivations) {
    if (dynamic.size > 0) throw new NixFormatError('derivation', 'the hash of a dynamic derivation is not known');
    const hashes = hashesOfInput(drvPath);
    for (const name of names) {
      const hash = hashes.get(name);
      if (hash === undefined) throw new NixFormatError('derivation', `${drvPath} has no output ${name}`);
      const hex = formatHash(hash, 'base16', { prefix: false });
      const merged = inputs.get(hex);
      if (merged === undefined) inputs.set(hex, new Set([name]));
      else merged.add(name);
    }
  }
  // Where the file has the paths of inputs, this text has their hashes.
  const inputDerivations = new Map<StorePath, InputOutputs>();
  for (const [hex, names] of inputs) inputDerivations.set(hex as StorePath, { names: [...names], dynamic: NOTHING });
  return formatDerivation({ ...(maskOutputs ? masked(derivation) : derivation), inputDerivations });
}

const NOTHING: ReadonlyMap<string, InputOutputs> = new Map();

function masked(derivation: Derivation): Derivation {
  const outputs = new Map([...derivation.outputs].map(([name, output]) => [name, { ...output, path: undefined }]));
  const env = new Map([...derivation.env].map(([name, value]) => [name, outputs.has(name) ? '' : value]));
  return { ...derivation, outputs, env };
}
