import type { StorePath } from '../nix/store-path.ts';
import type { MissingFromMirror } from './client-plan.ts';
import type { Target } from './scopes.ts';

/** What checking a root found. */
export interface CheckResult {
  /**
   * What the answer rests on. `derivations`: what clients build was followed. `paths`: only what can be installed was looked at, for a root of
   * which no derivations are known, or whose scope is `run`. `paths-only`: likewise, though it was meant to be changed, since its `.drv` files were
   * not carried.
   */
  readonly judged: 'derivations' | 'paths' | 'paths-only';
  /** The paths that were asked for themselves, what evaluation reads among them, with all that they refer to. */
  readonly asked: { readonly paths: number; readonly fetchBytes: number };
  readonly targets: readonly TargetCheck[];
  /** Empty where clients can have everything. */
  readonly missing: readonly CheckedMissing[];
  /** What is there, and no client takes. */
  readonly unsigned: readonly StorePath[];
  /** Derivations of which it shows only while building what they need. */
  readonly unknowable: readonly StorePath[];
}

/** What a client with an empty store does for one target. */
export interface TargetCheck {
  readonly target: Target;
  readonly builds: readonly StorePath[];
  readonly fetches: readonly StorePath[];
  readonly fetchBytes: number;
  readonly missing: number;
  /** For what kinds of machine something is built. */
  readonly systems: readonly string[];
}

export interface CheckedMissing extends Omit<MissingFromMirror, 'kind'> {
  /** As in a client plan; `recorded` is something that belonged to the root once and that the mirror has lost. */
  readonly kind: MissingFromMirror['kind'] | 'recorded';
  /** The mirror has it, though the derivation forbids clients to take it from there. */
  readonly isWithheld: boolean;
  /** What is wrong with its files. */
  readonly damage: string | undefined;
  /** Who wants it: undefined is the root itself, the others are variants. */
  readonly wantedFor: readonly (string | undefined)[];
}
