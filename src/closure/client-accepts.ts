import { contentAddressNamesPath, parseContentAddress } from '../nix/content-address.ts';
import { NixFormatError } from '../nix/format-error.ts';
import type { NarInfo } from '../nix/narinfo.ts';
import { type PublicKey, trustedSignature } from '../nix/signature.ts';

/**
 * Whether a client that trusts these keys takes the path from a cache. To Nix, a content address that names the path is worth a signature: what
 * it fetches is hashed on arrival. (Nix: `ValidPathInfo::checkSignatures`)
 */
export function clientAccepts(info: NarInfo, keys: readonly PublicKey[]): boolean {
  return isNamedByContents(info) || trustedSignature(info, keys) !== undefined;
}

function isNamedByContents({ contentAddress, storePath, references }: NarInfo): boolean {
  if (contentAddress === undefined) return false;
  try {
    const address = parseContentAddress(contentAddress);
    return address.method !== 'unknown' && contentAddressNamesPath(address, storePath, references);
  } catch (error) {
    if (error instanceof NixFormatError) return false;
    throw error;
  }
}
