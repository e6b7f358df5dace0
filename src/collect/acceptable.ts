import {
  contentAddressNamesPath,
  type NarInfo,
  type PublicKey,
  parseContentAddress,
  type StorePath,
  trustedSignature,
} from '../nix/index.ts';

/**
 * Whether a narinfo may stand for `path` before its NAR is seen: a trusted key signed it, or its `CA:` explains the path's name
 * (then the contents are checked against the `CA:` once they are here).
 */
export function isAcceptable(info: NarInfo, path: StorePath, trustedKeys: readonly PublicKey[]): boolean {
  if (info.storePath !== path) return false;
  return trustedSignature(info, trustedKeys) !== undefined || addressNamesPath(info);
}

/** Why a narinfo is not acceptable, in words. */
export function describeUntrusted({ signatures }: NarInfo): string {
  const names = signatures.map((signature) => signature.split(':')[0]);
  if (names.length === 0) return 'an upstream has it, but unsigned';
  return `an upstream has it, signed by ${names.join(', ')}, none of which is trusted here`;
}

function addressNamesPath(info: NarInfo): boolean {
  if (info.contentAddress === undefined) return false;
  return contentAddressNamesPath(parseContentAddress(info.contentAddress), info.storePath, info.references);
}
