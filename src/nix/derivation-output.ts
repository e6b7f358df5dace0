import type { ContentAddress, ContentAddressMethod } from './content-address.ts';
import type { Derivation, DerivationOutput } from './derivation.ts';
import { NixFormatError } from './format-error.ts';
import { type Hash, isHashAlgorithm, parseHash } from './hash.ts';
import type { StorePath } from './store-path.ts';

/**
 * `input-addressed`: the path follows from the inputs. `fixed`: path and hash of the contents are stated beforehand. `floating`:
 * content-addressed, path known after building. `deferred`: input-addressed below a floating input, path known once that is
 * built. `impure`: floating, and built anew every time.
 */
export type OutputKind = 'input-addressed' | 'fixed' | 'floating' | 'deferred' | 'impure';

export function outputKind(output: DerivationOutput): OutputKind {
  if (output.hashAlgorithm === '') return output.path === undefined ? 'deferred' : 'input-addressed';
  if (output.hash === '') return 'floating';
  return output.hash === 'impure' ? 'impure' : 'fixed';
}

/** The kind that all outputs of a derivation share. */
export function derivationKind(derivation: Derivation): OutputKind {
  for (const output of derivation.outputs.values()) return outputKind(output);
  throw new NixFormatError('derivation', 'it has no outputs');
}

/** Whether the derivation states what its one output `out` must be, so that the output may be had from anywhere. */
export function isFixedOutput(derivation: Derivation): boolean {
  return derivationKind(derivation) === 'fixed' && derivation.outputs.size === 1 && derivation.outputs.has('out');
}

/** Whether output paths follow from what is in them, not from the inputs: fixed, floating and impure derivations. */
export function isContentAddressed(derivation: Derivation): boolean {
  const kind = derivationKind(derivation);
  return kind === 'fixed' || kind === 'floating' || kind === 'impure';
}

/** Whether output paths are unknown until something is built. */
export function isFloating(derivation: Derivation): boolean {
  const kind = derivationKind(derivation);
  return kind === 'floating' || kind === 'deferred' || kind === 'impure';
}

/** Path by output name; undefined where it is unknown until something is built. */
export function outputPaths(derivation: Derivation): ReadonlyMap<string, StorePath | undefined> {
  return new Map([...derivation.outputs].map(([name, output]) => [name, output.path]));
}

/** What a fixed output must be: its path, and how contents are checked. Undefined for every other output. */
export function fixedOutput(output: DerivationOutput): { path: StorePath; contentAddress: ContentAddress } | undefined {
  if (output.path === undefined || outputKind(output) !== 'fixed') return undefined;
  return { path: output.path, contentAddress: contentAddressOf(output) };
}

/** What makes this a thing that Nix never writes; undefined when it is sound. */
export function findOutputProblem(output: DerivationOutput): string | undefined {
  const kind = outputKind(output);
  if (kind === 'fixed') {
    if (output.path === undefined) return 'a fixed output before this has no path';
    return findHashProblem(output);
  }
  if (output.hashAlgorithm === '' && output.hash !== '') return 'an output before this has a hash without an algorithm';
  if (output.hashAlgorithm !== '' && output.path !== undefined) return 'an output before this has a path, but no hash';
  return undefined;
}

const METHODS: ReadonlyMap<string, ContentAddressMethod> = new Map([
  ['', 'flat'],
  ['r:', 'nar'],
  ['text:', 'text'],
]);

function contentAddressOf(output: DerivationOutput): ContentAddress {
  const method = METHODS.get(methodPrefix(output));
  const hash = parseFixedHash(output);
  if (method !== undefined && hash !== undefined) return { method, hash };
  const text = `fixed:${output.hashAlgorithm}:${output.hash}`;
  return { method: 'unknown', text };
}

function findHashProblem(output: DerivationOutput): string | undefined {
  try {
    parseFixedHash(output);
    return undefined;
  } catch (error) {
    if (error instanceof NixFormatError) return error.message;
    throw error;
  }
}

/** Undefined for algorithms that later Nix knows and this code does not. */
function parseFixedHash(output: DerivationOutput): Hash | undefined {
  const algorithm = output.hashAlgorithm.slice(methodPrefix(output).length);
  return isHashAlgorithm(algorithm) ? parseHash(output.hash, algorithm) : undefined;
}

function methodPrefix(output: DerivationOutput): string {
  return output.hashAlgorithm.slice(0, output.hashAlgorithm.lastIndexOf(':') + 1);
}
