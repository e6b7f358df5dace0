import type { RootEvaluationInput, RootRecord, RootRepository, RootTarget } from '../mirror/roots.ts';
import type { StorePathBaseName } from '../nix/index.ts';
import type { RootLine } from './inventory.ts';

/** What a shipment says of a root besides its paths. */
export type StatedRoot = Pick<
  RootRecord,
  'name' | 'request' | 'scope' | 'complete' | 'rootPaths' | 'targets' | 'evaluationInputs' | 'channel' | 'repositories'
>;

/** The fields of the inventory's line that say what the root is; its paths have lines of their own. */
export function statedFields(root: StatedRoot): Omit<RootLine, 'type' | 'pathCount' | 'narSizeBytes' | 'digest'> {
  const { name, request, scope, complete, rootPaths, targets, evaluationInputs, channel, repositories } = root;
  return {
    name,
    request,
    scope,
    complete,
    rootPaths: [...rootPaths],
    ...(targets === undefined ? {} : { targets: targets.map(targetLine) }),
    ...(evaluationInputs === undefined ? {} : { evaluationInputs: evaluationInputs.map(inputLine) }),
    ...(channel === undefined ? {} : { channel }),
    ...(repositories === undefined ? {} : { repositories: repositories.map(repositoryLine) }),
  };
}

/** The root as a line of an inventory that was checked states it. */
export function rootOfLine(line: RootLine): StatedRoot {
  const { name, request, scope, complete, rootPaths, targets, evaluationInputs, channel, repositories } = line;
  return {
    name,
    request,
    scope,
    complete,
    rootPaths: rootPaths.map(asBaseName),
    ...(targets === undefined ? {} : { targets: targets.map(readTarget) }),
    ...(evaluationInputs === undefined ? {} : { evaluationInputs: evaluationInputs.map(readInput) }),
    ...(channel === undefined ? {} : { channel: { ...channel, path: asBaseName(channel.path) } }),
    ...(repositories === undefined ? {} : { repositories: repositories.map(readRepository) }),
  };
}

function targetLine(target: RootTarget): NonNullable<RootLine['targets']>[number] {
  return { ...target, outputs: [...target.outputs] };
}

function readTarget(target: NonNullable<RootLine['targets']>[number]): RootTarget {
  return { ...target, derivation: asBaseName(target.derivation) };
}

function inputLine(input: RootEvaluationInput): NonNullable<RootLine['evaluationInputs']>[number] {
  const { locked, original, ...plain } = input;
  return {
    ...plain,
    ...(locked === undefined ? {} : { locked: { ...locked } }),
    ...(original === undefined ? {} : { original: { ...original } }),
  };
}

function readInput(input: NonNullable<RootLine['evaluationInputs']>[number]): RootEvaluationInput {
  return { ...input, path: asBaseName(input.path) };
}

function repositoryLine(repository: RootRepository): NonNullable<RootLine['repositories']>[number] {
  return { ...repository };
}

function readRepository(repository: NonNullable<RootLine['repositories']>[number]): RootRepository {
  return { ...repository, path: asBaseName(repository.path) };
}

/** The inventory's schema accepts nothing else. */
function asBaseName(text: string): StorePathBaseName {
  return text as StorePathBaseName;
}
