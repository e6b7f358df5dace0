import { mapConcurrent, Semaphore } from '../base/concurrency.ts';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { OnProgress } from '../base/progress.ts';
import { publishRealisations } from '../mirror/publish-realisations.ts';
import type { RootRecord } from '../mirror/roots.ts';
import type { StorePath } from '../nix/index.ts';
import { type SourceAttempt, SourceMissing } from '../sources/source-supply.ts';
import { buildSource, type FetchedPath, type FetchInputs, fetchPath } from './fetch-path.ts';
import type { PlannedPath } from './path-finder.ts';
import type { CollectPlan, CollectProblem } from './plan.ts';
import { PublishQueue } from './publish-queue.ts';
import { recordRoots } from './record-roots.ts';
import { checkSpace } from './space.ts';

export interface CollectInputs extends Omit<FetchInputs, 'onBytes'> {
  readonly plan: CollectPlan;
  /** Transfers under way at once. */
  readonly jobs: number;
  readonly onProgress: OnProgress;
}

export interface CollectReport {
  readonly roots: readonly RootRecord[];
  readonly publishedPaths: number;
  readonly presentPaths: number;
  readonly fetchedBytes: number;
  /** Those of the plan and those met on the way; empty when every root is complete. */
  readonly problems: readonly CollectProblem[];
}

/**
 * Fetches what the plan names and publishes it in the mirror, references first and in waves, so that what is finished stays
 * finished. A path that fails is reported together with what it blocks, and the rest goes on.
 * @throws NixferryError `no-space` before the first byte when the mirror's file system is too small, or on the way when it fills up.
 */
export async function collect(inputs: CollectInputs): Promise<CollectReport> {
  const { plan, mirror, onProgress, signal } = inputs;
  await checkSpace(plan, mirror);
  const failures = new Map<StorePath, CollectProblem>();
  const queue = new PublishQueue(mirror, plan.present, signal);
  let fetchedBytes = 0;
  onProgress({ type: 'phase', phase: 'fetch', totalItems: plan.toFetch.length, totalBytes: plan.downloadBytes });
  const onBytes = (bytes: number) => {
    fetchedBytes += bytes;
    onProgress({ type: 'advance', bytes });
  };
  const finish = async (path: PlannedPath, work: () => Promise<FetchedPath>) => {
    try {
      const { leftover, ...candidate } = await work();
      await queue.add(candidate, leftover);
      onProgress({ type: 'advance', items: 1 });
    } catch (error) {
      if (error instanceof SourceMissing && unbuilt !== undefined && path.kind === 'source') {
        unbuilt.push({ path, attempts: error.attempts });
      } else {
        failures.set(path.storePath, problemOf(path, error, signal, plan));
      }
    }
  };
  // A builder may need tools, and makes use of what the mirror has by then: it comes last.
  let unbuilt: UnbuiltSource[] | undefined = inputs.supply?.canBuild === true ? [] : undefined;
  // What has come and is being checked leaves its place to the next transfer.
  const transfers = new Semaphore(inputs.jobs);
  const fetchOne = (path: PlannedPath) =>
    holding(transfers, signal, (release) =>
      finish(path, () => fetchPath(path, { ...inputs, onBytes, onReceived: release })),
    );
  await mapConcurrent(inFetchOrder(plan.toFetch), inputs.jobs + LIMITS.receivedNarsWaiting, fetchOne, signal);
  const toBuild = unbuilt ?? [];
  unbuilt = undefined;
  if (toBuild.length > 0) await queue.flush();
  const buildOne = ({ path, attempts }: UnbuiltSource) =>
    finish(path, () => buildSource(path.source, attempts, { ...inputs, onBytes }));
  await mapConcurrent(toBuild, inputs.jobs, buildOne, signal);
  const blocked = await queue.finish();
  await publishRealisations(
    mirror,
    plan.roots.flatMap(({ carried }) => carried.realisations),
  );
  const problems = [...plan.problems, ...failures.values(), ...blocked];
  onProgress({ type: 'phase', phase: 'record roots' });
  return {
    roots: await recordRoots(plan.roots, mirror),
    publishedPaths: queue.publishedCount,
    presentPaths: plan.present.size,
    fetchedBytes,
    problems,
  };
}

/**
 * Large paths first within each wave, so that no core waits at the end for a large one that began last; the waves themselves in
 * topological order, so that what is fetched can be published.
 */
function inFetchOrder(paths: readonly PlannedPath[]): PlannedPath[] {
  const ordered: PlannedPath[] = [];
  for (let start = 0; start < paths.length; start += LIMITS.pathsPerPublishWave) {
    const wave = paths.slice(start, start + LIMITS.pathsPerPublishWave);
    ordered.push(...wave.sort((a, b) => narSizeOf(b) - narSizeOf(a)));
  }
  return ordered;
}

/** Runs `work` while holding a place, which `work` may give free before it ends. */
async function holding(
  places: Semaphore,
  signal: AbortSignal,
  work: (release: () => void) => Promise<void>,
): Promise<void> {
  await places.acquire(signal);
  let isHeld = true;
  const release = (): void => {
    if (isHeld) places.release();
    isHeld = false;
  };
  try {
    await work(release);
  } finally {
    release();
  }
}

interface UnbuiltSource {
  readonly path: Extract<PlannedPath, { kind: 'source' }>;
  readonly attempts: readonly SourceAttempt[];
}

function narSizeOf(path: PlannedPath): number {
  // A source of unknown size may be a large one.
  if (path.kind === 'source') return Number.POSITIVE_INFINITY;
  return (path.kind === 'upstream' ? path.info : path.local).narSizeBytes;
}

/** How many transfers run at once where nobody says otherwise. */
export const DEFAULT_JOBS = LIMITS.narDownloadsInFlight;

/** An error that concerns this path alone; whatever would stop every path is thrown. */
function problemOf(path: PlannedPath, error: unknown, signal: AbortSignal, plan: CollectPlan): CollectProblem {
  if (signal.aborted || !(error instanceof NixferryError)) throw error;
  if (error instanceof SourceMissing) return missingSource(path.storePath, error, plan);
  const common = { storePath: path.storePath, detail: error.message, wantedBy: undefined };
  switch (error.code) {
    case 'damage':
      return { ...common, kind: 'damage' };
    case 'not-trusted':
      return { ...common, kind: 'untrusted' };
    case 'upstream-unreachable':
    case 'upstream-incomplete':
      return { ...common, kind: 'upstream-error' };
    default:
      throw error;
  }
}

/** A source that could not be had: who wants it, and which roots are not complete without it. */
function missingSource(storePath: StorePath, { attempts }: SourceMissing, plan: CollectPlan): CollectProblem {
  const wanting = plan.roots.filter(({ carried }) => carried.paths.has(storePath));
  const chain = wanting.map(({ carried }) => carried.paths.get(storePath)?.chain).find((one) => one !== undefined);
  return {
    storePath,
    kind: 'no-source',
    detail: 'no cache has this source, and it was looked for in vain:',
    wantedBy: chain?.at(-1),
    ...(chain === undefined ? {} : { chain }),
    attempts,
    blocks: wanting.map(({ root }) => root.name),
  };
}
