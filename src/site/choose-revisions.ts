import { isDeepStrictEqual } from 'node:util';
import { NixferryError } from '../base/errors.ts';
import type { EvaluationInputsList } from '../mirror/evaluation-inputs.ts';
import type { FlakeReference, RootEvaluationInput } from '../mirror/roots.ts';
import { inputAt, type Lock, type LockNode } from './lock-file.ts';

/** An input that is to be at another revision, or is to be told what it is since Nix would ask its origin. */
export interface ChosenInput {
  /** As one gets to it from the flake: `nixpkgs`, `home-manager/nixpkgs`. */
  readonly name: string;
  /** As it is locked now; undefined where it is new. */
  readonly before: LockNode | undefined;
  readonly shipped: RootEvaluationInput;
}

export interface ChooseRevisionsOptions {
  /** Inputs of the flake's own; all unless named. */
  readonly names: readonly string[];
  /** What flake.nix asks for, as far as that is known: inputs that are not locked yet, or as something else. */
  readonly declared: ReadonlyMap<string, FlakeReference>;
  /** Which revisions were shipped. */
  readonly list: EvaluationInputsList;
}

export interface RevisionChoice {
  readonly chosen: readonly ChosenInput[];
  /** Are at the newest revision already. */
  readonly unchanged: readonly string[];
  /** Inputs of which no shipment has brought any revision. */
  readonly unresolved: readonly string[];
  /** Whether Nix can work out a lock without asking for any of these. */
  readonly canLock: boolean;
}

/**
 * Which revisions the inputs of a lock move to: of all that shipments have brought of what was asked for in the same words, what was modified last. Where an
 * input moves, what it takes in turn is what its new revision was locked with when it was shipped.
 * Throws `usage` for a name that the flake has not.
 */
export function chooseRevisions(lock: Lock, { names, declared, list }: ChooseRevisionsOptions): RevisionChoice {
  const own: ReadonlyMap<string, LockNode | undefined> = new Map([
    ...[...declared.keys()].map((name) => [name, undefined] as const),
    ...ownInputs(lock),
  ]);
  for (const name of names) {
    if (own.has(name) || (!name.includes('/') && inputAt(lock, name) !== undefined)) continue;
    const hint = `it has: ${[...own.keys()].join(', ')}`;
    throw new NixferryError('usage', `the flake has no input ${name}`, { hint });
  }
  const chosen: ChosenInput[] = [];
  const unchanged: string[] = [];
  const unresolved: string[] = [];
  let canLock = true;
  for (const [name, before] of own) {
    if (names.length > 0 && !names.includes(name)) continue;
    const asked = declared.get(name);
    const known = before === undefined || isAskedAnew(asked, before) ? undefined : before;
    const again = asked === undefined ? undefined : newestOf({ original: asked }, everyInput(list));
    const shipped = again ?? (known === undefined ? undefined : newestOf(known, everyInput(list)));
    if (shipped === undefined) {
      unresolved.push(name);
      canLock &&= known !== undefined;
      continue;
    }
    const moves = !isSameInput(before, shipped);
    const nested = [...inputsOf(shipped, list)].flatMap(([inner, candidates]) => {
      const found = chooseNested(lock, `${name}/${inner}`, candidates);
      return found === undefined || (!moves && hasSameTree(found.before, found.shipped)) ? [] : [found];
    });
    if (moves) chosen.push({ name, before, shipped });
    else if (nested.length === 0) unchanged.push(name);
    chosen.push(...nested);
  }
  return { chosen, unchanged, unresolved, canLock };
}

/** Whether an input is another one than before, and not only to be told again. */
export function isMoved({ name, before, shipped }: ChosenInput): boolean {
  return before === undefined ? !name.includes('/') : !isSameInput(before, shipped);
}

/** When a shipped source was modified, in seconds since 1970; 1 where nobody says. */
export function modifiedOf({ locked }: RootEvaluationInput): number {
  const modified = locked?.['lastModified'];
  return typeof modified === 'number' ? modified : 1;
}

/** The inputs that the flake itself names. What follows another input is that one, and a folder beside the flake moves with it, its own inputs do not. */
function ownInputs(lock: Lock): Map<string, LockNode> {
  const found = new Map<string, LockNode>();
  const visited = new Set<string>();
  const visit = (key: string, prefix: string): void => {
    if (visited.has(key)) return;
    visited.add(key);
    for (const [name, target] of Object.entries(lock.nodes[key]?.inputs ?? {})) {
      const input = typeof target === 'string' ? lock.nodes[target] : undefined;
      if (typeof target !== 'string' || input?.locked === undefined) continue;
      if (input.original?.['type'] === 'path') visit(target, `${prefix}${name}/`);
      else found.set(prefix + name, input);
    }
  };
  visit(lock.root, '');
  return found;
}

/** Whether flake.nix has been changed since it was locked. Of other types, the spelling does not tell for sure. */
function isAskedAnew(asked: FlakeReference | undefined, { original }: LockNode): boolean {
  return asked !== undefined && ARCHIVES.has(asked['type']) && !isSameReference(asked, original);
}

const ARCHIVES: ReadonlySet<unknown> = new Set(['github', 'gitlab', 'sourcehut']);

function newestOf(asked: LockNode, inputs: Iterable<RootEvaluationInput>): RootEvaluationInput | undefined {
  const same = [...inputs].filter((input) => isSameReference(input.original, asked.original));
  return same.toSorted((a, b) => modifiedOf(b) - modifiedOf(a))[0];
}

/** An object of no prototype is not deeply equal to another. */
function isSameReference(one: LockNode['original'], other: LockNode['original']): boolean {
  return isDeepStrictEqual({ ...one }, { ...other });
}

function* everyInput({ roots }: EvaluationInputsList): Generator<RootEvaluationInput> {
  for (const { inputs } of roots) for (const input of inputs) if (input.locked !== undefined) yield input;
}

/** What a shipped source took in turn, wherever it was shipped as an input, by the names that it has for them. */
function inputsOf({ path }: RootEvaluationInput, { roots }: EvaluationInputsList): Map<string, RootEvaluationInput[]> {
  const found = new Map<string, RootEvaluationInput[]>();
  for (const { inputs } of roots) {
    const parents = inputs.filter((input) => input.path === path && input.locked !== undefined);
    for (const input of inputs) {
      const parent = parents.find(({ name }) => input.name.startsWith(`${name}/`));
      if (parent === undefined || input.locked === undefined || input.original?.['type'] === 'path') continue;
      const inner = input.name.slice(parent.name.length + 1);
      found.set(inner, [...(found.get(inner) ?? []), input]);
    }
  }
  return found;
}

/** Undefined for what the flake has decided otherwise: it follows another input, or something else is taken in its place. */
function chooseNested(lock: Lock, name: string, candidates: readonly RootEvaluationInput[]): ChosenInput | undefined {
  const before = inputAt(lock, name);
  if (before === 'follows') return undefined;
  const [any] = candidates;
  const shipped =
    before === undefined ? newestOf({ original: any?.original }, candidates) : newestOf(before, candidates);
  return shipped === undefined ? undefined : { name, before, shipped };
}

function isSameInput(before: LockNode | undefined, shipped: RootEvaluationInput): boolean {
  return hasSameTree(before, shipped) && isSameReference(before?.original, shipped.original);
}

function hasSameTree(before: LockNode | undefined, { locked }: RootEvaluationInput): boolean {
  return before?.locked?.['narHash'] === locked?.['narHash'];
}
