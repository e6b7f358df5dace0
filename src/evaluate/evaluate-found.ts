import { readFileIfExists } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import { NixFormatError, parseDerivation, parseStorePath, type StorePath } from '../nix/index.ts';
import { readDerivationOutputs } from './derivation-outputs.ts';
import { type EvaluateCall, type Evaluated, evaluateValue, FEATURES } from './evaluate-value.ts';
import { DEBUG_LOG } from './evaluation-log.ts';
import type { EvaluationStore } from './evaluation-store.ts';
import { openLocalStore } from './local-store.ts';
import { compareVersions, parseNixVersion } from './nix-age.ts';
import { runNix } from './nix-command.ts';
import { parseDescription, type ValueDescription } from './nix-value.ts';

/** A described value; what evaluating it needed is in the evaluation store now. */
export interface Found {
  readonly description: ValueDescription;
  readonly evaluated: Evaluated;
}

/** Evaluates one call of `describeFunction`. */
export type Finder = (call: EvaluateCall) => Promise<Found>;

/**
 * The way to evaluate into `store` that the Nix here is capable of. Both give the very derivations that this Nix gives anywhere else, and leave in the
 * store what evaluation needed; the way of the old ones takes two or three evaluations each.
 */
export async function chooseFinder(store: EvaluationStore, storeDir: string, signal?: AbortSignal): Promise<Finder> {
  const printed = await runNix('nix', ['--version'], { purpose: 'asking Nix for its version', signal });
  const version = parseNixVersion(printed.toString('utf8'));
  const isNew = version !== undefined && compareVersions(version, BUILDS_ELSEWHERE) >= 0;
  return isNew ? (call) => findInOneStore(store, call, storeDir) : (call) => findInTwoStores(store, call, storeDir);
}

// From here on, and it may be earlier, import-from-derivation builds in the local store and copies outputs into the evaluation store.
// Before, it would be built in the evaluation store itself, with all that building it takes.
const BUILDS_ELSEWHERE = '2.26';

/**
 * Before lazily copied trees, the place of a file of a flake is its place in the evaluation store, and where an expression makes a string of that
 * (`toString ./.`, the position of an option in a manual) it gets into a derivation. Then the local store has to tell the right ones.
 */
async function findInOneStore(store: EvaluationStore, call: EvaluateCall, storeDir: string): Promise<Found> {
  const evaluated = await evaluateValue(store, call);
  const description = parseDescription(evaluated.json);
  const drvPaths = description.derivations.map(({ drvPath }) => parseStorePath(drvPath, storeDir));
  if (!(await namesItsPlace(store, drvPaths, storeDir))) return { description, evaluated };
  const local = await evaluateValue(undefined, call);
  return { description: parseDescription(local.json), evaluated };
}

/**
 * Evaluates in the local store, where import-from-derivation is built, and what it was is seen from the log; then once more, with those outputs put into
 * the evaluation store and building forbidden.
 */
async function findInTwoStores(store: EvaluationStore, call: EvaluateCall, storeDir: string): Promise<Found> {
  const first = await evaluateValue(undefined, call, DEBUG_LOG);
  if (first.log.realised.size > 0) {
    // The first time, what was built on the way is named as well.
    const again = await evaluateValue(undefined, call, DEBUG_LOG);
    await copyOutputs(store, [...again.log.realised], storeDir, call);
  }
  const args = ['--option', 'max-jobs', '0', '--option', 'builders', '', ...call.args];
  const evaluated = await evaluateValue(store, { ...call, args });
  return { description: parseDescription(first.json), evaluated };
}

async function copyOutputs(
  store: EvaluationStore,
  drvPaths: readonly string[],
  storeDir: string,
  { workingDirectory, signal }: EvaluateCall,
): Promise<void> {
  const outputs = await Promise.all(drvPaths.map((drvPath) => readDerivationOutputs(drvPath, 'all', storeDir)));
  const built = await openLocalStore(storeDir)?.query(outputs.flat(), signal);
  const valid = [...(built?.keys() ?? [])];
  for (let start = 0; start < valid.length; start += LIMITS.nixPathsPerQuery) {
    const batch = valid.slice(start, start + LIMITS.nixPathsPerQuery);
    const args = [...FEATURES, 'copy', '--no-check-sigs', '--to', store.uri, ...batch];
    await runNix('nix', args, { purpose: 'copying what evaluation had built', workingDirectory, signal });
  }
}

/** Whether one of the derivations, or one below it, holds the name of the evaluation store's folder. */
async function namesItsPlace(
  store: EvaluationStore,
  drvPaths: readonly StorePath[],
  storeDir: string,
): Promise<boolean> {
  const place = Buffer.from(store.placeName);
  // The set grows while it is walked.
  const seen = new Set(drvPaths);
  for (const path of seen) {
    const bytes = await readFileIfExists(store.physical(path), LIMITS.derivationBytes);
    if (bytes === undefined) continue;
    if (bytes.includes(place)) return true;
    for (const input of inputsOf(bytes, storeDir)) seen.add(input);
  }
  return false;
}

function inputsOf(bytes: Buffer, storeDir: string): Iterable<StorePath> {
  try {
    return parseDerivation(bytes, storeDir).inputDerivations.keys();
  } catch (error) {
    if (error instanceof NixFormatError) return [];
    throw error;
  }
}
