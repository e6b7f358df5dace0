import { join } from 'node:path';
import { type Compression, compressionSuffix } from '../base/compression/compression.ts';
import { encodeBase32 } from '../nix/base32.ts';
import { type HashPart, isHashPart } from '../nix/store-path.ts';

/** Public names, as `Storage` takes them. */
export const CACHE_INFO_NAME = 'nix-cache-info';
export const NAR_PREFIX = 'nar/';

/**
 * The folders that must exist even when empty: Nix makes them when it opens a `file://` cache, and so fails on read-only media that lack them.
 */
export const PUBLIC_FOLDERS = ['nar', 'log', 'realisations', 'build-trace-v2'] as const;

const NARINFO_SUFFIX = '.narinfo';

export function narInfoName(hashPart: HashPart): string {
  return `${hashPart}${NARINFO_SUFFIX}`;
}

/** The hash part of a narinfo's name, or undefined when the name is not that of a narinfo. */
export function hashPartOfNarInfoName(name: string): HashPart | undefined {
  if (!name.endsWith(NARINFO_SUFFIX)) return undefined;
  const hashPart = name.slice(0, -NARINFO_SUFFIX.length);
  return isHashPart(hashPart) ? hashPart : undefined;
}

/** The name of a NAR file: by the sha256 of its bytes, so that what lies behind a URL never changes. */
export function narName(fileSha256: Uint8Array, compression: Compression): string {
  return `${NAR_PREFIX}${encodeBase32(fileSha256)}.nar${compressionSuffix(compression)}`;
}

/** Where the private state lies; all of it is on the file system, whatever the storage. */
export interface PrivateLayout {
  readonly folder: string;
  readonly formatFile: string;
  readonly lockFile: string;
  readonly lockInfoFile: string;
  readonly indexFile: string;
  readonly flatFilesFile: string;
  readonly missesFile: string;
  /** Made by whoever serves, and again when they are removed. */
  readonly tarballsFolder: string;
  readonly secretKeyFile: string;
  readonly publicKeyFile: string;
  readonly formerKeysFolder: string;
  readonly trustedKeysFolder: string;
  readonly rootsFolder: string;
  readonly partialFolder: string;
  readonly quarantineFolder: string;
  readonly damagedFolder: string;
  readonly damagedNarsFolder: string;
  readonly withheldFolder: string;
  readonly journalFolder: string;
  readonly tempFolder: string;
  /** What a caching proxy knows and has not published yet: a cache, which may be removed while none runs. */
  readonly proxyFolder: string;
}

export function privateLayout(directory: string): PrivateLayout {
  const folder = join(directory, '.nixferry');
  return {
    folder,
    formatFile: join(folder, 'mirror.json'),
    lockFile: join(folder, 'lock'),
    lockInfoFile: join(folder, 'lock-info.json'),
    indexFile: join(folder, 'index.sqlite'),
    flatFilesFile: join(folder, 'flat-files.sqlite'),
    missesFile: join(folder, 'misses.sqlite'),
    tarballsFolder: join(folder, 'tarballs'),
    secretKeyFile: join(folder, 'keys', 'secret'),
    publicKeyFile: join(folder, 'keys', 'public'),
    formerKeysFolder: join(folder, 'keys', 'former'),
    trustedKeysFolder: join(folder, 'keys', 'trusted'),
    rootsFolder: join(folder, 'roots'),
    partialFolder: join(folder, 'partial'),
    quarantineFolder: join(folder, 'quarantine'),
    damagedFolder: join(folder, 'damaged'),
    damagedNarsFolder: join(folder, 'damaged', 'nar'),
    withheldFolder: join(folder, 'damaged', 'withheld'),
    journalFolder: join(folder, 'journal'),
    tempFolder: join(folder, 'tmp'),
    proxyFolder: join(folder, 'proxy'),
  };
}
