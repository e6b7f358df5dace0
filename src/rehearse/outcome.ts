import type { StorePath } from '../nix/index.ts';
import type { MissingThing } from './missing.ts';
import type { Saying } from './nix-messages.ts';

/** `complete`: everything was there. `missing`: something was not. `failed`: something else went wrong. */
export type Verdict = 'complete' | 'missing' | 'failed';

/** What came of one thing that was tried: a root itself, or a variant of it. */
export interface TargetOutcome {
  /** Undefined for the root itself. */
  readonly variant: string | undefined;
  readonly verdict: Verdict;
  /** What Nix was asked to build or to fetch. */
  readonly wanted: readonly StorePath[];
  /**
   * `same`: evaluated anew, it is what was collected. `other`: something else. `not-collected`: a variant that was never collected. `refused`: Nix could not
   * evaluate it. `recorded`: the derivation that was collected was built without evaluating. `none`: a root without derivations.
   */
  readonly evaluation: 'same' | 'other' | 'not-collected' | 'refused' | 'recorded' | 'none';
  /** Whether evaluating found a NixOS; only where it was evaluated. */
  readonly isNixos?: boolean;
  /** What was run, in order. */
  readonly commands: readonly string[];
  /** In full and sorted, as all lists of paths here. */
  readonly built: readonly string[];
  readonly fetched: readonly string[];
  /** Built, although the mirror's files did not show that it would have to be. */
  readonly unforeseen: readonly string[];
  readonly missing: readonly Missing[];
  /** Derivations whose builders failed, with the end of what they printed. */
  readonly failed: readonly { readonly derivation: string; readonly log: readonly string[] }[];
  readonly said: readonly Saying[];
}

export interface Missing extends MissingThing {
  /** Who wants it: the root first, the one that wants it directly last; empty where nobody can tell. */
  readonly chain: readonly string[];
  /** False for what Nix would not have needed, had it had something else that is missing. */
  readonly isCause: boolean;
}

export interface RootOutcome {
  /** The id of its record. */
  readonly id: string;
  readonly name: string;
  readonly verdict: Verdict;
  /** How the evaluation inputs were had, first; then the root, then its variants. */
  readonly targets: readonly TargetOutcome[];
}

/** The worst of several. */
export function worstVerdict(verdicts: Iterable<Verdict>): Verdict {
  const all = new Set(verdicts);
  if (all.has('missing')) return 'missing';
  return all.has('failed') ? 'failed' : 'complete';
}
