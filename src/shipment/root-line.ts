import type { RootEvaluationInput, RootRecord, RootTarget } from '../mirror/roots.ts';
import type { StorePathBaseName } from '../nix/index.ts';
import type { RootLine } from './inventory.ts';

/** What a shipment says of a root besides its paths. */
export type StatedRoot = Pick<
  RootRecord,
  'name' | 'request' | 'scope' | 'complete' | 'rootPaths' | 'targets' | 'evaluationInputs'
>;

/** The fields of the inventory's line that say what the root is; its paths have lines of their own. */
export function statedFields(root: StatedRoot): Omit<RootLine, 'type' | 'pathCount' | 'narSizeBytes' | 'digest'> {
  const { name, request, scope, complete, rootPaths, targets, evaluationInputs } = root;
  return {
    name,
    request,
    scope,
    complete,
    rootPaths: [...rootPaths],
    ...(targets === undefined ? {} : { targets: targets.map(targetLine) }),
    ...(evaluationInputs === undefined ? {} : { evaluationInputs: [...evaluationInputs] }),
  };
}

/** The root as a line of an inventory that was checked states it. */
export function rootOfLine(line: RootLine): StatedRoot {
  const { name, request, scope, complete, rootPaths, targets, evaluationInputs } = line;
  return {
    name,
    request,
    scope,
    complete,
    rootPaths: rootPaths.map(asBaseName),
    ...(targets === undefined ? {} : { targets: targets.map(readTarget) }),
    ...(evaluationInputs === undefined ? {} : { evaluationInputs: evaluationInputs.map(readInput) }),
  };
}

function targetLine(target: RootTarget): NonNullable<RootLine['targets']>[number] {
  return { ...target, outputs: [...target.outputs] };
}

function readTarget(target: NonNullable<RootLine['targets']>[number]): RootTarget {
  return { ...target, derivation: asBaseName(target.derivation) };
}

function readInput(input: NonNullable<RootLine['evaluationInputs']>[number]): RootEvaluationInput {
  return { ...input, path: asBaseName(input.path) };
}

/** The inventory's schema accepts nothing else. */
function asBaseName(text: string): StorePathBaseName {
  return text as StorePathBaseName;
}
