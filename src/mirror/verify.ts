import { rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { mapConcurrent } from '../base/concurrency.ts';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { ignoreProgress, type OnProgress } from '../base/progress.ts';
import { type NarInfo, narInfoFingerprint } from '../nix/narinfo.ts';
import { type HashPart, hashPartOf, type StorePath } from '../nix/store-path.ts';
import { damagedNarFile, forgetHidden, keepHidden, readHidden } from './hidden-paths.ts';
import { indexAgrees } from './index-agreement.ts';
import { NAR_PREFIX, narInfoName } from './layout.ts';
import type { Mirror } from './mirror.ts';
import { type PublishCandidate, publish } from './publish.ts';
import { orderForPublishing } from './publish-order.ts';
import { type ScannedPath, scanMirror } from './verify-scan.ts';

export interface WantedPath {
  readonly hashPart: HashPart;
  /** What was known of it; undefined for a narinfo that cannot be read, and for a reference that was never here. */
  readonly info: NarInfo | undefined;
}

/** Gets a path anew: checked (`intakeNar`), trusted, ready to publish; undefined when it cannot be had. */
export type Refetch = (wanted: WantedPath, signal: AbortSignal | undefined) => Promise<PublishCandidate | undefined>;

export interface VerifyOptions {
  /** Opened to read, the mirror is only looked at: nothing is hidden or repaired. */
  readonly mirror: Mirror;
  readonly refetch?: Refetch | undefined;
  /** NARs that are hashed at the same time. Default: enough to keep all cores busy. */
  readonly jobs?: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

export interface DamagedPath {
  readonly hashPart: HashPart;
  /** Undefined when the narinfo cannot be read. */
  readonly storePath: StorePath | undefined;
  readonly reason: string;
  /** Why it could not be had anew; undefined when nothing was tried. */
  readonly repairFailed: string | undefined;
}

export interface WithheldPath {
  readonly storePath: StorePath;
  /** What it refers to that is not there, sorted. */
  readonly missing: readonly StorePath[];
}

/** All lists are sorted by store path. */
export interface VerifyResult {
  readonly checked: number;
  /** Damaged, now or since an earlier verify, and out of clients' sight. */
  readonly damaged: readonly DamagedPath[];
  /** Visible again, or for the first time, after having been damaged, hidden or missing. */
  readonly repaired: readonly StorePath[];
  /** Sound themselves, but out of clients' sight because of what they refer to. */
  readonly hidden: readonly WithheldPath[];
  /** NAR files that no narinfo speaks of; they take room and do no harm. */
  readonly orphans: readonly string[];
  readonly indexRebuilt: boolean;
}

/**
 * Hashes everything that the mirror holds. What is damaged, and all that refers to it, leaves clients' sight, referrers first; what can be had
 * anew by `refetch` comes back together with its referrers. What an earlier verify has hidden is looked at again.
 */
export async function verifyMirror(options: VerifyOptions): Promise<VerifyResult> {
  const { mirror, signal, onProgress = ignoreProgress } = options;
  const jobs = options.jobs ?? availableParallelism() + 2;
  const scanned = await scanMirror(mirror, { jobs, signal, onProgress });
  const verdict = judge(scanned);
  const orphans = await findOrphans(mirror, scanned);
  if (mirror.access === 'read')
    return report(scanned, verdict, { orphans, indexRebuilt: false, repaired: [], failures: new Map() });

  const indexRebuilt = !(await indexAgrees(mirror, scanned));
  if (indexRebuilt) await mirror.index.rebuild();
  await hide(mirror, scanned, verdict);
  const repair = await repairPaths(options, scanned, verdict, jobs);
  return report(scanned, verdict, { orphans, indexRebuilt, ...repair });
}

interface Verdict {
  readonly damaged: readonly ScannedPath[];
  /** Sound, and everything that they refer to is too. */
  readonly good: ReadonlySet<HashPart>;
  readonly withheld: ReadonlyMap<HashPart, WithheldPath>;
}

type Sound = ScannedPath & { readonly info: NarInfo };

function judge(scanned: readonly ScannedPath[]): Verdict {
  const sound = scanned.filter(isSound);
  const order = orderForPublishing(
    sound.map(({ info }) => info),
    () => false,
  );
  return {
    damaged: scanned.filter((path) => !isSound(path)),
    good: new Set(order.levels.flat().map(({ storePath }) => hashPartOf(storePath))),
    withheld: new Map(
      order.refused.map(({ item, missing }) => [hashPartOf(item.storePath), { storePath: item.storePath, missing }]),
    ),
  };
}

function isSound(path: ScannedPath): path is Sound {
  return path.problem === undefined && path.info !== undefined;
}

async function hide(mirror: Mirror, scanned: readonly ScannedPath[], { damaged, withheld }: Verdict): Promise<void> {
  const damagedParts = new Set(damaged.map(({ hashPart }) => hashPart));
  const hidden = scanned.filter(({ hashPart }) => damagedParts.has(hashPart) || withheld.has(hashPart));
  await mapConcurrent(hidden, LIMITS.fileSyncsInFlight, ({ hashPart, bytes }) =>
    keepHidden(mirror.layout, { hashPart, bytes, why: damagedParts.has(hashPart) ? 'damaged' : 'withheld' }),
  );
  const leaving = hidden.filter(({ visible }) => visible);
  if (leaving.length > 0) {
    await mirror.index.expectChanges();
    await mirror.storage.removeInOrder(referrersFirst(leaving));
    await mirror.index.drop(leaving.map(({ hashPart }) => hashPart));
  }
  const needed = new Set(scanned.filter(isSound).map(({ info }) => info.url));
  for (const { info } of damaged) {
    if (info !== undefined && !needed.has(info.url)) {
      await mirror.storage.release(info.url, damagedNarFile(mirror.layout, info.url));
    }
  }
}

/** At no moment may clients see a path whose references are gone. Those in cycles have no order, and go last. */
function referrersFirst(paths: readonly ScannedPath[]): readonly (readonly string[])[] {
  const order = orderForPublishing(
    paths.map(({ info }) => info).filter((info) => info !== undefined),
    () => true,
  );
  const ordered = order.levels.map((level) => level.map(({ storePath }) => hashPartOf(storePath))).toReversed();
  const placed = new Set(ordered.flat());
  const rest = paths.map(({ hashPart }) => hashPart).filter((hashPart) => !placed.has(hashPart));
  return [...ordered, rest].map((level) => level.map(narInfoName));
}

interface Repair {
  readonly repaired: readonly StorePath[];
  readonly failures: ReadonlyMap<HashPart, string>;
}

async function repairPaths(
  options: VerifyOptions,
  scanned: readonly ScannedPath[],
  verdict: Verdict,
  jobs: number,
): Promise<Repair> {
  const { mirror, refetch, signal } = options;
  const candidates = new Map<HashPart, PublishCandidate>();
  for (const path of scanned.filter(isSound)) {
    if (!path.visible || verdict.withheld.has(path.hashPart)) candidates.set(path.hashPart, candidateOf(mirror, path));
  }
  const failures = new Map<HashPart, string>();
  if (refetch !== undefined) {
    const known = new Set(scanned.map(({ hashPart }) => hashPart));
    let wanted = verdict.damaged.map(({ hashPart, info }): WantedPath => ({ hashPart, info }));
    wanted.push(...absentReferences(candidates, known));
    while (wanted.length > 0) {
      await mapConcurrent(
        wanted,
        jobs,
        async (path) => {
          known.add(path.hashPart);
          const outcome = await refetchOne(refetch, path, signal);
          if (typeof outcome === 'string') failures.set(path.hashPart, outcome);
          else candidates.set(path.hashPart, outcome);
        },
        signal,
      );
      // What was had anew may refer to something else that is not here.
      wanted = absentReferences(candidates, known);
    }
  }
  const { published, already } = await publish(mirror, [...candidates.values()], { signal });
  const repaired = [...published, ...already].toSorted();
  await tidy(mirror, scanned, new Set(repaired.map(hashPartOf)));
  return { repaired, failures };
}

/** The path as it is published again; its NAR may lie with the damaged ones although it reads well now. */
function candidateOf(mirror: Mirror, { info, narFile }: Sound): PublishCandidate {
  return narFile === damagedNarFile(mirror.layout, info.url) ? { info, narFile } : { info };
}

function absentReferences(
  candidates: ReadonlyMap<HashPart, PublishCandidate>,
  known: ReadonlySet<HashPart>,
): WantedPath[] {
  const references = [...candidates.values()].flatMap(({ info }) => info.references.map(hashPartOf));
  return [...new Set(references)]
    .filter((hashPart) => !known.has(hashPart) && !candidates.has(hashPart))
    .map((hashPart) => ({ hashPart, info: undefined }));
}

/** The path, or why it could not be had. One that fails must not keep the others from being repaired. */
async function refetchOne(
  refetch: Refetch,
  wanted: WantedPath,
  signal: AbortSignal | undefined,
): Promise<PublishCandidate | string> {
  try {
    const candidate = await refetch(wanted, signal);
    if (candidate === undefined) return 'no upstream has it';
    const { info } = wanted;
    if (info === undefined) return candidate;
    if (narInfoFingerprint(info) !== narInfoFingerprint(candidate.info))
      return 'upstream has another path under its name';
    const signatures = [...info.signatures, ...candidate.info.signatures];
    return { ...candidate, info: { ...candidate.info, signatures } };
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof NixferryError && error.code !== 'no-space') return error.message;
    throw error;
  }
}

/** Throws away the copies of what clients see again. */
async function tidy(mirror: Mirror, scanned: readonly ScannedPath[], repaired: ReadonlySet<HashPart>): Promise<void> {
  const hidden = await readHidden(mirror.layout);
  const visible: HashPart[] = [];
  for (const { hashPart } of hidden) {
    if (await mirror.hasPath(hashPart)) visible.push(hashPart);
  }
  await forgetHidden(mirror.layout, visible);
  const kept = new Set(scanned.filter(({ hashPart }) => !repaired.has(hashPart)).map(({ info }) => info?.url));
  for (const { hashPart, info } of scanned) {
    if (info === undefined || !repaired.has(hashPart) || kept.has(info.url)) continue;
    await rm(damagedNarFile(mirror.layout, info.url), { force: true });
  }
}

async function findOrphans(mirror: Mirror, scanned: readonly ScannedPath[]): Promise<readonly string[]> {
  const used = new Set(scanned.map(({ info }) => info?.url));
  const orphans: string[] = [];
  for await (const name of mirror.storage.list(NAR_PREFIX)) {
    if (!used.has(name)) orphans.push(name);
  }
  return orphans.toSorted();
}

function report(
  scanned: readonly ScannedPath[],
  verdict: Verdict,
  done: Repair & { readonly orphans: readonly string[]; readonly indexRebuilt: boolean },
): VerifyResult {
  const repaired = new Set(done.repaired.map(hashPartOf));
  const damaged = verdict.damaged
    .filter(({ hashPart }) => !repaired.has(hashPart))
    .map(({ hashPart, info, problem }) => ({
      hashPart,
      storePath: info?.storePath,
      reason: problem ?? 'its narinfo cannot be read',
      repairFailed: done.failures.get(hashPart),
    }));
  const hidden = [...verdict.withheld].filter(([hashPart]) => !repaired.has(hashPart)).map(([, path]) => path);
  return {
    checked: scanned.length,
    damaged,
    repaired: done.repaired,
    hidden: hidden.toSorted((a, b) => (a.storePath < b.storePath ? -1 : 1)),
    orphans: done.orphans,
    indexRebuilt: done.indexRebuilt,
  };
}
