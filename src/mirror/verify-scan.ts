import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { mapConcurrent } from '../base/concurrency.ts';
import { NixferryError, systemErrorCode } from '../base/errors.ts';
import type { OnProgress } from '../base/progress.ts';
import { NixFormatError } from '../nix/format-error.ts';
import { type NarInfo, parseNarInfo } from '../nix/narinfo.ts';
import { type HashPart, hashPartOf } from '../nix/store-path.ts';
import { hashNarFile } from './hash-nar-file.ts';
import { damagedNarFile, readHidden } from './hidden-paths.ts';
import { hashPartOfNarInfoName, narInfoName } from './layout.ts';
import type { Mirror } from './mirror.ts';
import { findMismatch } from './nar-hash.ts';
import { isStorageName } from './storage.ts';

/** One narinfo of the mirror, visible or hidden by an earlier verify, and what was found. */
export interface ScannedPath {
  readonly hashPart: HashPart;
  readonly visible: boolean;
  readonly bytes: Buffer;
  /** Undefined when the narinfo itself cannot be read. */
  readonly info: NarInfo | undefined;
  /** Where the NAR was found; undefined when there is none. */
  readonly narFile: string | undefined;
  /** What is wrong with the narinfo or its NAR; undefined when nothing is. */
  readonly problem: string | undefined;
}

export interface ScanOptions {
  readonly jobs: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress: OnProgress;
}

/** Reads every narinfo and hashes every NAR. Changes nothing. Sorted by hash part. */
export async function scanMirror(mirror: Mirror, options: ScanOptions): Promise<readonly ScannedPath[]> {
  const { jobs, signal, onProgress } = options;
  const found = await readAll(mirror);
  const groups = groupByNar(found);
  const totalBytes = groups.reduce((sum, group) => sum + (group.first.info.fileSizeBytes ?? 0), 0);
  onProgress({ type: 'phase', phase: 'verify', totalItems: found.length, totalBytes });
  const scanned = found.filter((path) => path.info === undefined).map(withoutInfo);
  onProgress({ type: 'advance', items: scanned.length });
  // Large files first: the last one to begin should not be the one that takes longest.
  const ordered = groups.toSorted((a, b) => b.first.info.narSizeBytes - a.first.info.narSizeBytes);
  await mapConcurrent(
    ordered,
    jobs,
    async ({ first, paths }) => {
      const narFile = locateNar(mirror, first.info);
      const problem = await checkNar(narFile, first.info, signal);
      for (const path of paths) scanned.push({ ...path, narFile, problem });
      onProgress({ type: 'advance', items: paths.length, bytes: first.info.fileSizeBytes ?? 0 });
    },
    signal,
  );
  return scanned.toSorted((a, b) => (a.hashPart < b.hashPart ? -1 : 1));
}

interface ReadPath {
  readonly hashPart: HashPart;
  readonly visible: boolean;
  readonly bytes: Buffer;
  readonly info: NarInfo | undefined;
  readonly unreadable: string | undefined;
}

interface WithInfo extends ReadPath {
  readonly info: NarInfo;
}

interface NarGroup {
  readonly first: WithInfo;
  readonly paths: readonly WithInfo[];
}

async function readAll(mirror: Mirror): Promise<ReadPath[]> {
  const hashParts: HashPart[] = [];
  for await (const name of mirror.storage.list('', { shallow: true })) {
    const hashPart = hashPartOfNarInfoName(name);
    if (hashPart !== undefined) hashParts.push(hashPart);
  }
  const contents = await mirror.storage.readMany(hashParts.map(narInfoName));
  const visible = hashParts.flatMap((hashPart, position) => {
    const stored = contents[position];
    return stored === undefined ? [] : [parse(mirror, hashPart, true, stored.bytes)];
  });
  const seen = new Set(hashParts);
  const hidden = await readHidden(mirror.layout);
  const others = hidden.filter(({ hashPart }) => !seen.has(hashPart));
  return [...visible, ...others.map(({ hashPart, bytes }) => parse(mirror, hashPart, false, bytes))];
}

function parse(mirror: Mirror, hashPart: HashPart, visible: boolean, bytes: Buffer): ReadPath {
  const unreadable = (why: string): ReadPath => ({ hashPart, visible, bytes, info: undefined, unreadable: why });
  try {
    const info = parseNarInfo(bytes, mirror.storeDir);
    if (hashPartOf(info.storePath) !== hashPart) return unreadable(`its narinfo describes ${info.storePath}`);
    if (!isStorageName(info.url)) return unreadable(`its NAR would be outside of the mirror: ${info.url}`);
    return { hashPart, visible, bytes, info, unreadable: undefined };
  } catch (error) {
    if (error instanceof NixFormatError) return unreadable(`its narinfo cannot be read: ${error.message}`);
    throw error;
  }
}

/** Paths of which the same is said about the same file need it read only once. */
function groupByNar(found: readonly ReadPath[]): readonly NarGroup[] {
  const groups = new Map<string, WithInfo[]>();
  for (const path of found) {
    if (!hasInfo(path)) continue;
    const { url, narHash, narSizeBytes, fileHash, fileSizeBytes, compression } = path.info;
    const key = [url, narHash, narSizeBytes, fileHash, fileSizeBytes, compression].join(' ');
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [path]);
    else group.push(path);
  }
  return [...groups.values()].flatMap((paths) => {
    const [first] = paths;
    return first === undefined ? [] : [{ first, paths }];
  });
}

function hasInfo(path: ReadPath): path is WithInfo {
  return path.info !== undefined;
}

function locateNar(mirror: Mirror, info: NarInfo): string | undefined {
  const candidates = [join(mirror.directory, info.url), damagedNarFile(mirror.layout, info.url)];
  return candidates.find((file) => existsSync(file));
}

async function checkNar(file: string | undefined, info: NarInfo, signal?: AbortSignal): Promise<string | undefined> {
  if (file === undefined) return 'its NAR is missing';
  try {
    return findMismatch(await hashNarFile(file, info, signal), info);
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof NixferryError && error.code === 'damage') return error.message;
    const code = systemErrorCode(error);
    // A disk that cannot give the bytes back has damaged them as surely as one that gives others.
    if (code === 'EIO' || code === 'EISDIR' || code === 'ENOENT') return `its NAR cannot be read (${code})`;
    throw error;
  }
}

function withoutInfo({ hashPart, visible, bytes, unreadable }: ReadPath): ScannedPath {
  return { hashPart, visible, bytes, info: undefined, narFile: undefined, problem: unreadable };
}
