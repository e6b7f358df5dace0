import { asCompression } from '../base/compression/compression.ts';
import { narName } from '../mirror/layout.ts';
import { narAliasName } from '../mirror/nar-alias.ts';
import { maxFileBytes } from '../mirror/nar-hash.ts';
import { contentAddressNamesPath, parseContentAddress } from '../nix/content-address.ts';
import { NixFormatError } from '../nix/format-error.ts';
import { hashAlgorithm, hashDigest } from '../nix/hash.ts';
import { formatNarInfo, type NarInfo } from '../nix/narinfo.ts';
import {
  isWellFormedSignature,
  type PublicKey,
  type SecretKey,
  signNarInfo,
  trustedSignature,
} from '../nix/signature.ts';
import { type HashPart, hashPartOf } from '../nix/store-path.ts';

/** A path that an upstream has and the mirror has not: what clients are told of it, and what it takes to fetch it. */
export interface Offer {
  readonly hashPart: HashPart;
  /** As the upstream gave it. */
  readonly info: NarInfo;
  /** By what the upstream is known. */
  readonly upstream: string;
  /** Where clients ask for the NAR. */
  readonly narName: string;
  /** The narinfo for clients. */
  readonly text: string;
}

export interface OfferTerms {
  readonly trustedKeys: readonly PublicKey[];
  /** Those of the mirror; none: narinfos get no signature of ours. */
  readonly signingKeys: readonly SecretKey[];
}

/** Why a narinfo of an upstream is not passed on, in words; undefined when it is. */
export function findObjection(info: NarInfo, { trustedKeys }: OfferTerms): string | undefined {
  if (hashAlgorithm(info.narHash) !== 'sha256') return 'NarHash is no sha256';
  if (asCompression(info.compression) === undefined) return `its NAR is compressed by ${info.compression}`;
  const { fileSizeBytes, ...unsized } = info;
  // Signatures do not cover FileSize: an honest one follows from NarSize, and another would be a way to fill the disk.
  if (fileSizeBytes !== undefined && fileSizeBytes > maxFileBytes(unsized)) return 'FileSize is far above NarSize';
  if (trustedSignature(info, trustedKeys) !== undefined || addressNamesPath(info)) return undefined;
  const names = info.signatures.map((signature) => signature.split(':')[0] ?? '');
  if (names.length === 0) return 'it is unsigned';
  const alike = trustedKeys.find(({ name }) => names.includes(name));
  if (alike !== undefined)
    return `its signature by ${alike.name} does not hold: that is another key than the one trusted here, or the narinfo was changed`;
  return `no trusted key signed it (signed by ${names.join(', ')})`;
}

/**
 * What clients are told: a URL in the mirror's form, upstream's signatures, and ours. A path that only its `CA:` vouches for gets none of ours
 * before its contents have been seen: clients check a `CA:` by themselves.
 */
export function makeOffer(info: NarInfo, upstream: string, terms: OfferTerms): Offer {
  const url = offeredNarName(info);
  const told = { ...info, url, signatures: info.signatures.filter(isWellFormedSignature) };
  const isSigned = trustedSignature(info, terms.trustedKeys) !== undefined;
  const shown = isSigned ? terms.signingKeys.reduce(signNarInfo, told) : told;
  return { hashPart: hashPartOf(info.storePath), info, upstream, narName: url, text: formatNarInfo(shown) };
}

/**
 * Where clients will ask for the NAR, for as long as they remember the narinfo. With FileHash it is the name that the file will have in the mirror; where
 * the upstream states none, a name from which the path can be found again.
 */
export function offeredNarName(info: NarInfo): string {
  const compression = asCompression(info.compression) ?? 'none';
  if (info.fileHash !== undefined && hashAlgorithm(info.fileHash) === 'sha256') {
    return narName(hashDigest(info.fileHash), compression);
  }
  return narAliasName(hashPartOf(info.storePath), info.narHash, compression);
}

function addressNamesPath(info: NarInfo): boolean {
  if (info.contentAddress === undefined) return false;
  try {
    return contentAddressNamesPath(parseContentAddress(info.contentAddress), info.storePath, info.references);
  } catch (error) {
    if (error instanceof NixFormatError) return false;
    throw error;
  }
}
