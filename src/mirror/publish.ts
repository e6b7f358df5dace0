import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { asCompression, type Compression } from '../base/compression/compression.ts';
import { mapConcurrent } from '../base/concurrency.ts';
import { systemErrorCode } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { OnProgress } from '../base/progress.ts';
import { type Hash, hashAlgorithm, hashDigest, hashFromDigest } from '../nix/hash.ts';
import { formatNarInfo, type NarInfo, narInfoFingerprint } from '../nix/narinfo.ts';
import { signNarInfo } from '../nix/signature.ts';
import { type HashPart, hashPartOf, type StorePath, storeDirOf } from '../nix/store-path.ts';
import { Exclusive } from './exclusive.ts';
import type { IndexEntry } from './index-tables.ts';
import { narInfoName, narName } from './layout.ts';
import type { Mirror } from './mirror.ts';
import { orderForPublishing, type RefusedItem } from './publish-order.ts';
import { isStorageName, type NamedBytes } from './storage.ts';

export interface PublishCandidate {
  /** Its hash, size and compression of the file are those of `narFile`; where the url points does not matter. */
  readonly info: NarInfo;
  /** The checked file, as `intakeNar` hands it over; without it the NAR must be in the mirror under `info.url`. */
  readonly narFile?: string;
}

export interface RefusedPath {
  readonly path: StorePath;
  /** Why, for people. */
  readonly reason: string;
  /** The references that were not there, if that is why. */
  readonly missing: readonly StorePath[];
}

export interface PublishResult {
  /** Visible now and not before, references first. */
  readonly published: readonly StorePath[];
  /** Were visible before; new signatures were added to them. */
  readonly already: readonly StorePath[];
  readonly refused: readonly RefusedPath[];
}

export interface PublishOptions {
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Makes paths visible to clients: first the NAR files, then the narinfos, references before referrers, each step durable before the next. Killed
 * or stopped at any point, what is visible is complete, and the same call finishes the rest. A path is refused when a reference of it is neither
 * visible nor published with it, when it is in a cycle of references, or when the mirror holds something else under its name.
 * Every narinfo keeps its signatures and gets the mirror's. Calls for one mirror run one after the other. Throws `no-space`, and the signal's reason.
 */
export function publish(
  mirror: Mirror,
  candidates: readonly PublishCandidate[],
  options: PublishOptions = {},
): Promise<PublishResult> {
  // Of two at once, the one that ends first would call an index level that lacks what the other has written.
  return oneByOne.run(mirror.directory, () => publishNow(mirror, candidates, options));
}

const oneByOne = new Exclusive();

async function publishNow(
  mirror: Mirror,
  candidates: readonly PublishCandidate[],
  options: PublishOptions,
): Promise<PublishResult> {
  const { signal, onProgress } = options;
  signal?.throwIfAborted();
  const refused: RefusedPath[] = [];
  const { fresh, already } = await sortOut(mirror, mergeSamePaths(candidates, refused), refused, signal);
  const visible = await findVisible(mirror, fresh);
  const order = orderForPublishing(fresh, (path) => visible.has(path));
  refused.push(...order.refused.map(explainRefusal));

  const ready = order.levels.flat();
  await moveNars(mirror, ready);
  signal?.throwIfAborted();
  const updates = already.filter((path) => path.changed);
  const written: NarInfo[] = [];
  if (ready.length + updates.length > 0) await mirror.index.expectChanges();
  try {
    await mirror.storage.writeInOrder(renderLevels([updates, ...order.levels], written, signal, onProgress));
    await addToIndex(mirror, written);
  } catch (error) {
    // Nobody knows how far it came; the index looks at the files when it is opened again.
    await mirror.index.close();
    throw error;
  }
  await mapConcurrent(already, LIMITS.fileSyncsInFlight, ({ leftover }) => removeIfPresent(leftover));
  return {
    published: ready.map((path) => path.storePath),
    already: already.map((path) => path.storePath),
    refused,
  };
}

/** A path on its way to be visible. */
interface FreshPath {
  readonly storePath: StorePath;
  readonly references: readonly StorePath[];
  readonly info: NarInfo;
  readonly narFile: string | undefined;
}

/** A path that is visible, and what is known of it now. */
interface VisiblePath {
  readonly storePath: StorePath;
  readonly info: NarInfo;
  readonly changed: boolean;
  /** A NAR file that was brought for nothing. */
  readonly leftover: string | undefined;
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

async function sortOut(
  mirror: Mirror,
  candidates: readonly PublishCandidate[],
  refused: RefusedPath[],
  signal: AbortSignal | undefined,
): Promise<{ fresh: FreshPath[]; already: VisiblePath[] }> {
  const fresh: FreshPath[] = [];
  const already: VisiblePath[] = [];
  const looked = await mapConcurrent(candidates, LIMITS.narInfoReadsInFlight, (one) => lookAt(mirror, one), signal);
  for (const finding of looked) {
    if ('reason' in finding) refused.push(finding);
    else if ('changed' in finding) already.push(finding);
    else fresh.push(finding);
  }
  return { fresh, already };
}

async function lookAt(mirror: Mirror, candidate: PublishCandidate): Promise<FreshPath | VisiblePath | RefusedPath> {
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
      const merged = signNarInfo(merge(present, info), mirror.secretKey);
      const changed = formatNarInfo(merged) !== formatNarInfo(present);
      return { storePath: info.storePath, info: merged, changed, leftover: narFile };
    }
  }
  return lookAtNew(mirror, candidate, present);
}

async function lookAtNew(
  mirror: Mirror,
  candidate: PublishCandidate,
  present: NarInfo | undefined,
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
  return { storePath, references, info: signNarInfo(info, mirror.secretKey), narFile };
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

/** Which of the references of new paths clients see already. */
async function findVisible(mirror: Mirror, fresh: readonly FreshPath[]): Promise<ReadonlySet<StorePath>> {
  const own = new Set(fresh.map((path) => path.storePath));
  const others = new Set(fresh.flatMap((path) => path.references.filter((reference) => !own.has(reference))));
  const visible = new Set<StorePath>();
  await mapConcurrent(others, LIMITS.narInfoReadsInFlight, async (path) => {
    if (await mirror.hasPath(hashPartOf(path))) visible.add(path);
  });
  return visible;
}

async function moveNars(mirror: Mirror, paths: readonly FreshPath[]): Promise<void> {
  const files = new Map<string, string>();
  for (const { narFile, info } of paths) {
    if (narFile !== undefined) files.set(narFile, info.url);
  }
  await mirror.storage.adoptMany([...files].map(([file, name]) => ({ file, name })));
}

function* renderLevels(
  levels: readonly (readonly { readonly info: NarInfo }[])[],
  written: NarInfo[],
  signal: AbortSignal | undefined,
  onProgress: OnProgress | undefined,
): Generator<readonly NamedBytes[]> {
  for (const level of levels) {
    signal?.throwIfAborted();
    if (level.length === 0) continue;
    yield level.map(({ info }) => ({ name: narInfoName(hashPartOf(info.storePath)), bytes: formatNarInfo(info) }));
    for (const { info } of level) written.push(info);
    onProgress?.({ type: 'advance', items: level.length });
  }
}

async function addToIndex(mirror: Mirror, written: readonly NarInfo[]): Promise<void> {
  if (written.length === 0) return;
  const stats = await mirror.storage.statMany(written.map(({ storePath }) => narInfoName(hashPartOf(storePath))));
  const entries = written.flatMap((info, position): IndexEntry[] => {
    const stored = stats[position];
    return stored === undefined ? [] : [{ info, stored }];
  });
  await mirror.index.add(entries);
}

/** `info`, with what another narinfo of the same path and contents says beyond it. */
function merge(info: NarInfo, other: NarInfo): NarInfo {
  const contentAddress = info.contentAddress ?? other.contentAddress;
  const signatures = [...new Set([...info.signatures, ...other.signatures])];
  return contentAddress === undefined ? { ...info, signatures } : { ...info, signatures, contentAddress };
}

function explainRefusal({ item, reason, missing }: RefusedItem<FreshPath>): RefusedPath {
  const explanations = {
    'reference-missing': 'references of it are missing',
    'reference-refused': 'references of it were refused',
    'reference-cycle': 'it is in a cycle of references',
  };
  return { path: item.storePath, reason: explanations[reason], missing };
}

function refusal(info: NarInfo, reason: string): RefusedPath {
  return { path: info.storePath, reason, missing: [] };
}

function describe(info: NarInfo): string {
  return `${info.storePath} with NarHash ${info.narHash}, ${info.references.length} references`;
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

async function removeIfPresent(file: string | undefined): Promise<void> {
  if (file !== undefined) await rm(file, { force: true });
}
