import type { Target } from '../closure/scopes.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { makeRootId, type RootEvaluationInput, type RootRecord, type RootTarget, writeRoot } from '../mirror/roots.ts';
import { baseNameOf, hashPartOf } from '../nix/index.ts';
import type { PlannedRoot } from './plan-root.ts';
import type { EvaluationInput } from './resolve-roots.ts';

/** Writes down in the mirror what was asked for and what it needs; a root that lacks something is recorded as not complete. */
export async function recordRoots(roots: readonly PlannedRoot[], mirror: Mirror): Promise<RootRecord[]> {
  const records: RootRecord[] = [];
  for (const planned of roots) {
    const record = await recordOf(planned, mirror);
    await writeRoot(mirror, record);
    records.push(record);
  }
  return records;
}

async function recordOf({ root, carried }: PlannedRoot, mirror: Mirror): Promise<RootRecord> {
  const { name, request, scope, targets, evaluationInputs, repositories = [] } = root;
  const rootPaths = root.paths.length > 0 ? root.paths : carried.rootPaths;
  const wanted = [...rootPaths, ...carried.paths.keys()];
  const closure = await mirror.index.closure(wanted.map(hashPartOf));
  const identity = { name, request, scope, origin: 'collected' } as const;
  return {
    format: 1,
    id: makeRootId(identity),
    ...identity,
    rootPaths: rootPaths.map(baseNameOf),
    paths: closure.paths.map(({ storePath }) => baseNameOf(storePath)),
    complete: closure.missing.length === 0 && carried.problems.length === 0 && root.lacksRepositories !== true,
    ...(repositories.length === 0 ? {} : { repositories }),
    ...(targets.length === 0 || scope === 'run'
      ? {}
      : {
          targets: targets.map(recordedTarget),
          evaluationInputs: evaluationInputs.map(recordedInput),
        }),
  };
}

function recordedInput({ storePath, ...input }: EvaluationInput): RootEvaluationInput {
  return { ...input, path: baseNameOf(storePath) };
}

function recordedTarget({ drvPath, outputs, variant }: Target): RootTarget {
  const target = { derivation: baseNameOf(drvPath), outputs };
  return variant === undefined ? target : { ...target, variant };
}
