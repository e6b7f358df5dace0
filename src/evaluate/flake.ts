import { z } from 'zod';
import { parseStorePath, type StorePath } from '../nix/index.ts';
import { type EvaluateCall, evaluateValue, FEATURES } from './evaluate-value.ts';
import type { NixSettings } from './evaluation-request.ts';
import type { EvaluationStore } from './evaluation-store.ts';
import { flakeLock, type LockedInput, listLockedInputs } from './flake-lock.ts';
import { runNix } from './nix-command.ts';
import { nixString } from './nix-value.ts';

/** A flake as it is locked now. */
export interface LockedFlake {
  /** The reference to use from here on: the same revision, even if a branch or the registry moves on meanwhile. */
  readonly reference: string;
  /** Its own source. */
  readonly path: StorePath;
  /** All inputs that flake.lock names, also those that no evaluation reads. */
  readonly inputs: readonly LockedInput[];
}

type Caller = Pick<EvaluateCall, 'workingDirectory' | 'signal'>;

/**
 * Locks a flake as `nix build` would, which writes flake.lock where it is missing or stale: this is done before anything is evaluated into a store
 * of its own, so that the source without the new lock does not come to lie there.
 * @param reference without `#` and what follows.
 */
export async function lockFlake(reference: string, storeDir: string, caller: Caller): Promise<LockedFlake> {
  const args = [...FEATURES, 'flake', 'metadata', '--json', reference];
  const printed = await runNix('nix', args, { ...caller, purpose: `reading the flake ${reference}` });
  const { url, path, locks } = metadata.parse(JSON.parse(printed.toString('utf8')));
  return {
    reference: LOCAL_URL.test(url) ? reference : url,
    path: parseStorePath(path, storeDir),
    inputs: listLockedInputs(locks, storeDir),
  };
}

/**
 * Fetches inputs into the evaluation store, from the local store where that has them. Resolves to those that could not be had, with why.
 */
export async function fetchInputs(
  store: EvaluationStore,
  inputs: readonly LockedInput[],
  settings: NixSettings,
  caller: Caller,
): Promise<{ readonly input: LockedInput; readonly error: unknown }[]> {
  const failures: { input: LockedInput; error: unknown }[] = [];
  for (const input of inputs) {
    const expression = `(builtins.fetchTree (builtins.fromJSON ${nixString(JSON.stringify(input.attributes))})).outPath`;
    const args = [...settings.searchPath.flatMap((entry) => ['-I', entry]), '--expr', expression];
    try {
      await evaluateValue(store, { ...caller, args, purpose: `fetching the flake input ${input.name}` });
    } catch (error) {
      caller.signal?.throwIfAborted();
      failures.push({ input, error });
    }
  }
  return failures;
}

// A flake of this machine is evaluated as it lies there.
const LOCAL_URL = /^(path:|git\+file:|file:|\/|\.)/;

const metadata = z.object({
  url: z.string(),
  path: z.string(),
  locks: flakeLock,
});
