import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { formatCount } from '../base/amounts.ts';
import { asCompression, type Compression } from '../base/compression/compression.ts';
import { mapConcurrent } from '../base/concurrency.ts';
import { systemErrorCode } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { type Hash, hashAlgorithm, hashDigest, hashFromDigest } from '../nix/hash.ts';
import { formatNarInfo, type NarInfo, narInfoFingerprint } from '../nix/narinfo.ts';
import { signNarInfo } from '../nix/signature.ts';
import { type HashPart, hashPartOf, type StorePath, storeDirOf } from '../nix/store-path.ts';
import { narName } from './layout.ts';
import type { Mirror } from './mirror.ts';
import type { PublishCandidate, RefusedPath } from './publish.ts';
import { isStorageName } from './storage.ts';

/** A path on its way to be visible. */
export interface FreshPath {
  readonly storePath: StorePath;
  readonly references: readonly StorePath[];
  readonly info: NarInfo;
  readonly narFile: string | undefined;
}

/** A path that is visible, and what is known of it now. */
export interface VisiblePath {
  readonly storePath: StorePath;
  readonly info: NarInfo;
  readonly changed: boolean;
  /** A NAR file that was brought for nothing. */
  readonly leftover: string | undefined;
}

export interface SortedCandidates {
  readonly fresh: FreshPath[];
  readonly already: VisiblePath[];
  /** Those whose own fault it is; what they refer to was not looked at. */
  readonly refused: RefusedPath[];
}

/** Finds out what each candidate is to the mirror, one for each path, with its NAR described and, with `sign`, the mirror's signature on it. Changes nothing. */
export async function sortCandidates(
  mirror: Mirror,
  candidates: readonly PublishCandidate[],
  { signal, sign }: { readonly signal: AbortSignal | undefined; readonly sign: boolean },
): Promise<SortedCandidates> {
  const sorted: SortedCandidates = { fresh: [], already: [], refused: [] };
  const merged = mergeSamePaths(candidates, sorted.refused);
  const looked = await mapConcurrent(merged, LIMITS.narInfoReadsInFlight, (one) => lookAt(mirror, one, sign), signal);
  for (const finding of looked) {
    if ('reason' in finding) sorted.refused.push(finding);
    else if ('changed' in finding) sorted.already.push(finding);
    else sorted.fresh.push(finding);
  }
  return sorted;
}

/** One candidate for each path; signatures of several are put together. */
function mergeSamePaths(candidates: readonly PublishCandidate[], refused: RefusedPath[]): PublishCandidate[] {
  const byHashPart = new Map<HashPart, PublishCandidate>();
  for (const candidate of candidates) {
    const hashPart = hashPartOf(candidate.info.storePath);
    const other = byHashPart.get(hashPart);
    if (other === undefined) {
      byHashPart.set(hashPart, candidate);
    } else if (narInfoFingerprint(other.info) === narInfoFingerprint(candidate.info)) {
      const kept = other.narFile === undefined ? candidate : other;
      byHashPart.set(hashPart, { ...kept, info: merge(kept.info, kept === other ? candidate.info : other.info) });
    } else {
      refused.push(refusal(candidate.info, `it was given twice, with different contents (${describe(other.info)})`));
    }
  }
  return [...byHashPart.values()];
}

async function lookAt(
  mirror: Mirror,
  candidate: PublishCandidate,
  sign: boolean,
): Promise<FreshPath | VisiblePath | RefusedPath> {
  const { info, narFile } = candidate;
  if (storeDirOf(info.storePath) !== mirror.storeDir) {
    return refusal(info, `the mirror holds paths of ${mirror.storeDir}`);
  }
  const present = await mirror.readNarInfo(hashPartOf(info.storePath));
  if (present !== undefined) {
    if (present.storePath !== info.storePath || narInfoFingerprint(present) !== narInfoFingerprint(info)) {
      return refusal(info, `the mirror holds ${describe(present)}, which is not the same as ${describe(info)}`);
    }
    if ((await mirror.storage.stat(present.url)) !== undefined) {
      const merged = withOurs(merge(present, info), mirror, sign);
      const changed = formatNarInfo(merged) !== formatNarInfo(present);
      return { storePath: info.storePath, info: merged, changed, leftover: narFile };
    }
  }
  return lookAtNew(mirror, candidate, present, sign);
}

async function lookAtNew(
  mirror: Mirror,
  candidate: PublishCandidate,
  present: NarInfo | undefined,
  sign: boolean,
): Promise<FreshPath | RefusedPath> {
  const { storePath, references } = candidate.info;
  const file = await describeFile(mirror, candidate);
  if (file === undefined) return refusal(candidate.info, 'its NAR is not there');
  const { fileSizeBytes: stated } = candidate.info;
  if (stated !== undefined && stated !== file.sizeBytes) {
    return refusal(candidate.info, `its NAR file has ${file.sizeBytes} bytes, not ${stated}`);
  }
  const merged = present === undefined ? candidate.info : merge(candidate.info, present);
  const info: NarInfo = {
    ...merged,
    url: file.url,
    compression: file.compression,
    fileHash: file.hash,
    fileSizeBytes: file.sizeBytes,
  };
  const narFile = file.inPlace ? undefined : candidate.narFile;
  return { storePath, references, info: withOurs(info, mirror, sign), narFile };
}

interface NarFileFacts {
  readonly hash: Hash;
  readonly sizeBytes: number;
  readonly compression: Compression;
  readonly url: string;
  readonly inPlace: boolean;
}

async function describeFile(mirror: Mirror, { info, narFile }: PublishCandidate): Promise<NarFileFacts | undefined> {
  const compression = asCompression(info.compression);
  if (compression === undefined) return undefined;
  const brought = narFile === undefined ? undefined : await statIfPresent(narFile);
  if (narFile !== undefined && brought !== undefined) {
    const hash = isSha256(info.fileHash) ? info.fileHash : await hashFile(narFile);
    return { hash, sizeBytes: brought.size, compression, url: narName(hashDigest(hash), compression), inPlace: false };
  }
  // Moved into place already: by a publish that was killed after it, or for another path with the same contents.
  const url =
    narFile !== undefined && isSha256(info.fileHash) ? narName(hashDigest(info.fileHash), compression) : info.url;
  const stored = isStorageName(url) ? await mirror.storage.stat(url) : undefined;
  if (stored === undefined) return undefined;
  const hash = isSha256(info.fileHash) ? info.fileHash : await hashFile(join(mirror.directory, url));
  return { hash, sizeBytes: stored.sizeBytes, compression, url, inPlace: true };
}

function withOurs(info: NarInfo, { signingKeys }: Mirror, sign: boolean): NarInfo {
  return sign ? signingKeys.reduce(signNarInfo, info) : info;
}

/** `info`, with what another narinfo of the same path and contents says beyond it. */
function merge(info: NarInfo, other: NarInfo): NarInfo {
  const contentAddress = info.contentAddress ?? other.contentAddress;
  const signatures = [...new Set([...info.signatures, ...other.signatures])];
  return contentAddress === undefined ? { ...info, signatures } : { ...info, signatures, contentAddress };
}

function refusal(info: NarInfo, reason: string): RefusedPath {
  return { path: info.storePath, reason, missing: [] };
}

function describe(info: NarInfo): string {
  return `${info.storePath} with NarHash ${info.narHash}, ${formatCount(info.references.length, 'reference')}`;
}

function isSha256(hash: Hash | undefined): hash is Hash {
  return hash !== undefined && hashAlgorithm(hash) === 'sha256';
}

async function hashFile(file: string): Promise<Hash> {
  const digest = createHash('sha256');
  for await (const chunk of createReadStream(file, { highWaterMark: LIMITS.fileChunkBytes })) digest.update(chunk);
  return hashFromDigest('sha256', digest.digest());
}

async function statIfPresent(file: string): Promise<{ readonly size: number } | undefined> {
  try {
    return await stat(file);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}
