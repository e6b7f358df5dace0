import { NixFormatError } from './format-error.ts';
import { formatHash, type Hash, hashAlgorithm, hashBytes } from './hash.ts';
import { makeStorePath, type StorePath } from './store-path.ts';

/** What a path refers to, as far as it goes into the path's own hash part. */
export interface PathReferences {
  /** In any order; without the path itself. */
  readonly references?: readonly StorePath[];
  readonly hasSelfReference?: boolean;
}

/**
 * The path of something added by the hash of its NAR (`nix store add-path`, flake inputs, `fetchzip`). (Nix: `makeFixedOutputPath`)
 * @throws NixFormatError when Nix allows no such name, or `narHash` is not sha256.
 */
export function makeSourcePath(name: string, narHash: Hash, storeDir: string, refers: PathReferences = {}): StorePath {
  requireSha256(narHash, 'a source path');
  const type = typeWithReferences('source', refers.references ?? [], refers.hasSelfReference ?? false);
  return makeStorePath(type, formatHash(narHash, 'base16'), name, storeDir);
}

/**
 * The path of one output of an input-addressed derivation: `hash` is that of the derivation modulo its fixed outputs.
 * Outputs other than `out` are named `name-output`. (Nix: `makeOutputPath`)
 * @throws NixFormatError when Nix allows no such name.
 */
export function makeOutputPath(outputName: string, hash: Hash, name: string, storeDir: string): StorePath {
  const fullName = outputName === 'out' ? name : `${name}-${outputName}`;
  return makeStorePath(`output:${outputName}`, formatHash(hash, 'base16'), fullName, storeDir);
}

/**
 * The path of a text file such as a `.drv` or the result of `builtins.toFile`; `hash` is that of its bytes. (Nix: `makeTextPath`)
 * @throws NixFormatError when Nix allows no such name, or `hash` is not sha256.
 */
export function makeTextPath(name: string, hash: Hash, references: readonly StorePath[], storeDir: string): StorePath {
  requireSha256(hash, 'a text path');
  return makeStorePath(typeWithReferences('text', references, false), formatHash(hash, 'base16'), name, storeDir);
}

/**
 * The path of a fixed output: `hash` is that of the file (`flat`) or of the NAR (`nar`). Only a sha256 of the NAR can carry
 * references. (Nix: `makeFixedOutputPath`)
 * @throws NixFormatError when Nix allows no such name or no such references.
 */
export function makeFixedOutputPath(
  method: 'flat' | 'nar',
  hash: Hash,
  name: string,
  storeDir: string,
  refers: PathReferences = {},
): StorePath {
  if (method === 'nar' && hashAlgorithm(hash) === 'sha256') return makeSourcePath(name, hash, storeDir, refers);
  if ((refers.references ?? []).length > 0 || refers.hasSelfReference === true) {
    throw new NixFormatError('store path', 'a fixed output has references only when its NAR is hashed with sha256');
  }
  const inner = hashBytes('sha256', `fixed:out:${method === 'nar' ? 'r:' : ''}${formatHash(hash, 'base16')}:`);
  return makeStorePath('output:out', formatHash(inner, 'base16'), name, storeDir);
}

function typeWithReferences(kind: string, references: readonly StorePath[], hasSelfReference: boolean): string {
  const parts = [kind, ...[...new Set<string>(references)].sort()];
  if (hasSelfReference) parts.push('self');
  return parts.join(':');
}

function requireSha256(hash: Hash, what: string): void {
  if (hashAlgorithm(hash) !== 'sha256') {
    throw new NixFormatError('store path', `${what} is made from a sha256 hash, not ${hashAlgorithm(hash)}`);
  }
}
