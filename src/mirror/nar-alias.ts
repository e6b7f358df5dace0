import { type Compression, compressionSuffix } from '../base/compression/compression.ts';
import { decodeBase32, encodeBase32 } from '../nix/base32.ts';
import { type Hash, hashDigest, hashFromDigest } from '../nix/hash.ts';
import { type HashPart, isHashPart } from '../nix/store-path.ts';
import { NAR_PREFIX } from './layout.ts';

/** What a name of a NAR says that was given before anybody knew the hash of the file. */
export interface NarAlias {
  readonly hashPart: HashPart;
  readonly narHash: Hash;
  /** As behind `.nar`; the file must be in that compression, which clients remember. */
  readonly suffix: string;
}

/**
 * The name of a NAR by its path and contents, `nar/<hash part>-<NarHash>.nar…`: for a path that a caching proxy passes on from an upstream which does
 * not state FileHash. Clients remember it for a month, so it is answered as long as the mirror has the path.
 */
export function narAliasName(hashPart: HashPart, narHash: Hash, compression: Compression): string {
  return `${NAR_PREFIX}${hashPart}-${encodeBase32(hashDigest(narHash))}.nar${compressionSuffix(compression)}`;
}

/** Undefined for every other name. */
export function parseNarAlias(name: string): NarAlias | undefined {
  const [, hashPart = '', digest = '', suffix = ''] = ALIAS.exec(name) ?? [];
  if (!isHashPart(hashPart)) return undefined;
  return { hashPart, narHash: hashFromDigest('sha256', decodeBase32(digest)), suffix };
}

/** Whether `info` is of the very file that the alias stands for. */
export function isAliasOf(alias: NarAlias, info: { readonly narHash: Hash; readonly url: string }): boolean {
  return info.narHash === alias.narHash && info.url.endsWith(`.nar${alias.suffix}`);
}

// The last digit of a sha256 in nix32 is 0 or 1: more does not fit.
const ALIAS = /^nar\/([0-9a-z]{32})-([01][0-9abcdfghijklmnpqrsvwxyz]{51})\.nar((?:\.[a-z0-9]{1,4})?)$/;
