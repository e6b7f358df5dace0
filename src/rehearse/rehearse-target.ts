import { NixferryError } from '../base/errors.ts';
import { parseDescription, type ValueDescription } from '../evaluate/nix-value.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { nameOf, parseStorePath, type StorePath } from '../nix/index.ts';
import { ROOM_CACHE } from './cache-view.ts';
import { type Forecast, forecast } from './forecast.ts';
import { findFailures, type MissingThing } from './missing.ts';
import type { NixStory, Saying } from './nix-messages.ts';
import type { Missing, TargetOutcome } from './outcome.ts';
import type { NixRun, RoomNix } from './room-nix.ts';

/** A derivation and which of its outputs are wanted. */
export interface BuildOrder {
  readonly drvPath: StorePath;
  readonly outputs: readonly string[];
}

/** What is to be tried. */
export interface TargetOrder {
  /** Undefined for the root itself. */
  readonly variant: string | undefined;
  /** What was collected for it; none for a variant that was not. */
  readonly recorded: readonly BuildOrder[];
  /**
   * How Nix is asked anew what it is, once it is known whether the root is a NixOS; undefined where only the derivation that was collected can
   * be built.
   */
  readonly question: ((isNixos: boolean) => Question) | undefined;
}

/** How `nix` is called to print what `describeFunction` describes. */
export interface Question {
  /** Arguments; a call for each kind of machine. */
  readonly calls: readonly (readonly string[])[];
  readonly env: Readonly<Record<string, string>>;
  /** Of the derivations that a description names, those that are wanted; throws NixferryError when there are none. */
  select(description: ValueDescription): readonly { drvPath: string; outputs: readonly string[] }[];
}

export interface TargetInputs {
  readonly nix: RoomNix;
  readonly mirror: Mirror;
  /** Hash parts of the paths that belong to the rehearsed roots. */
  readonly offered: ReadonlySet<string>;
  readonly signal: AbortSignal;
}

/**
 * Evaluates a target in the room, foretells what building it takes, and builds it.
 * @param isNixos whether the root was found to be a NixOS
 */
export async function rehearseTarget(
  order: TargetOrder,
  isNixos: boolean,
  inputs: TargetInputs,
): Promise<TargetOutcome> {
  const { variant, recorded } = order;
  const { nix } = inputs;
  if (order.question === undefined) {
    // Realising them would build them at once; this way the files come out of the mirror, and with them those that they refer to.
    const files = recorded.map(({ drvPath }) => drvPath);
    const fetch = await nix.run('nix', ['copy', '--derivation', '--from', `file://${ROOM_CACHE}`, ...files]);
    if (fetch.exitCode === 0) return build(variant, recorded, 'recorded', [fetch], inputs);
    return conclude({ variant, wanted: recorded, evaluation: 'recorded', runs: [fetch], foretold: [], inputs });
  }
  const question = order.question(isNixos);
  const runs: NixRun[] = [];
  const wanted: BuildOrder[] = [];
  let foundNixos = isNixos;
  for (const call of question.calls) {
    const run = await nix.run('nix', call, question.env);
    runs.push(run);
    const answer = readAnswer(run, question, inputs.mirror.storeDir);
    if ('refused' in answer) {
      return conclude({ variant, wanted, evaluation: 'refused', runs, foretold: [], inputs, note: answer.refused });
    }
    wanted.push(...answer.orders);
    foundNixos ||= answer.isNixos;
  }
  const evaluation = recorded.length === 0 ? 'not-collected' : sameDerivations(wanted, recorded) ? 'same' : 'other';
  return { ...(await build(variant, wanted, evaluation, runs, inputs)), isNixos: foundNixos };
}

/** Fetches paths into the room: evaluation inputs, and roots that have no derivations. */
export async function rehearsePaths(
  paths: readonly StorePath[],
  variant: string | undefined,
  inputs: TargetInputs,
): Promise<TargetOutcome> {
  const runs: NixRun[] = [];
  for (let start = 0; start < paths.length; start += PATHS_PER_RUN) {
    const batch = paths.slice(start, start + PATHS_PER_RUN);
    runs.push(await inputs.nix.run('nix-store', ['--realise', '--keep-going', ...batch]));
  }
  const wanted = paths.map((path) => ({ drvPath: path, outputs: [] }));
  return conclude({ variant, wanted, evaluation: 'none', runs, foretold: [], inputs });
}

const PATHS_PER_RUN = 500;

async function build(
  variant: string | undefined,
  wanted: readonly BuildOrder[],
  evaluation: TargetOutcome['evaluation'],
  before: readonly NixRun[],
  inputs: TargetInputs,
): Promise<TargetOutcome> {
  const { nix, mirror, offered, signal } = inputs;
  const foretold: Forecast[] = [];
  for (const order of wanted)
    foretold.push(await forecast({ ...order, mirror, offered, outside: nix.outside, signal }));
  const args = wanted.map(({ drvPath, outputs }) => `${drvPath}!${outputs.join(',')}`);
  const run = await nix.run('nix-store', ['--realise', '--keep-going', ...args]);
  return conclude({ variant, wanted, evaluation, runs: [...before, run], foretold, inputs });
}

interface Conclusion {
  readonly variant: string | undefined;
  readonly wanted: readonly BuildOrder[];
  readonly evaluation: TargetOutcome['evaluation'];
  readonly runs: readonly NixRun[];
  readonly foretold: readonly Forecast[];
  readonly inputs: TargetInputs;
  /** What is wrong although Nix did not complain. */
  readonly note?: string | undefined;
}

async function conclude(parts: Conclusion): Promise<TargetOutcome> {
  const { variant, wanted, evaluation, runs, foretold, inputs, note } = parts;
  const { nix, mirror } = inputs;
  const stories = runs.map(({ story }) => story);
  const built = sortedUnique(stories.flatMap((story) => story.built));
  const said: Saying[] = stories.flatMap((story) => story.said);
  if (note !== undefined) said.push({ kind: 'error', text: note });
  const common = {
    variant,
    wanted: wanted.map(({ drvPath }) => drvPath),
    evaluation,
    commands: runs.map(({ command }) => command),
    built,
    fetched: sortedUnique(stories.flatMap((story) => story.fetched)),
    unforeseen: foretold.length === 0 ? [] : unforeseenBuilds(built, foretold),
    said: distinct(said),
  };
  if (note === undefined && runs.every(({ exitCode }) => exitCode === 0))
    return { ...common, verdict: 'complete', missing: [], failed: [] };
  const failures = await Promise.all(stories.map((story) => findFailures(story, mirror.storeDir, nix.outside)));
  const missing = explained(
    failures.flatMap((each) => each.missing),
    foretold,
  );
  const failed = failures.flatMap((each) => each.failed);
  return {
    ...common,
    verdict: missing.length > 0 ? 'missing' : 'failed',
    missing,
    failed: failed.map((derivation) => ({ derivation, log: logOf(derivation, stories) })),
  };
}

/**
 * What is missing, the causes first: where an output is missing, Nix tries to build it, and what it then complains of is a source far below. The
 * forecast knows the output.
 */
function explained(named: readonly MissingThing[], foretold: readonly Forecast[]): Missing[] {
  const missing = new Map<string, Missing>();
  for (const { path, chain } of foretold.flatMap((each) => each.missing)) {
    missing.set(path, { what: path, derivation: undefined, chain, isCause: true });
  }
  for (const thing of named) {
    const known = missing.get(thing.what);
    missing.set(thing.what, {
      ...thing,
      chain: known?.chain ?? [],
      isCause: known !== undefined || foretold.every((each) => each.missing.length === 0),
    });
  }
  return [...missing.values()];
}

/** With content-addressed derivations switched on, Nix builds some of them under another path, in which outputs stand for inputs; the name stays. */
function unforeseenBuilds(built: readonly string[], foretold: readonly Forecast[]): string[] {
  const names = new Set(foretold.flatMap(({ builds }) => [...builds].map(nameOf)));
  return built.filter((path) => !names.has(nameOf(path as StorePath)));
}

function readAnswer(
  { exitCode, stdout }: NixRun,
  question: Question,
  storeDir: string,
): { readonly orders: readonly BuildOrder[]; readonly isNixos: boolean } | { readonly refused: string | undefined } {
  if (exitCode !== 0) return { refused: undefined };
  try {
    const description = parseDescription(Buffer.from(stdout));
    const selected = question.select(description);
    return {
      orders: selected.map(({ drvPath, outputs }) => ({ drvPath: parseStorePath(drvPath, storeDir), outputs })),
      isNixos: description.isNixos,
    };
  } catch (error) {
    if (error instanceof NixferryError) return { refused: error.message };
    throw error;
  }
}

function logOf(derivation: string, stories: readonly NixStory[]): readonly string[] {
  return stories.map(({ buildLogs }) => buildLogs.get(derivation)).find((log) => log !== undefined) ?? [];
}

function sameDerivations(one: readonly BuildOrder[], other: readonly BuildOrder[]): boolean {
  const text = (orders: readonly BuildOrder[]) => sortedUnique(orders.map(({ drvPath }) => drvPath)).join();
  return text(one) === text(other);
}

function sortedUnique(texts: Iterable<string>): string[] {
  return [...new Set(texts)].toSorted();
}

function distinct(said: readonly Saying[]): Saying[] {
  return [...new Map(said.map((saying) => [saying.text, saying])).values()];
}
