import type { HashPart } from '../nix/store-path.ts';
import type { EvaluationInputsList } from './evaluation-inputs.ts';
import type { FlakeReference, RootEvaluationInput } from './roots.ts';

/** A source that is served as a tarball: what a name stood for when some root was evaluated. */
export interface ServedFlake {
  readonly hashPart: HashPart;
  /** Seconds since 1970; 1 where nobody says, as for everything in a store. */
  readonly lastModified: number;
  readonly rev: string | undefined;
  readonly revCount: number | undefined;
  /** Where in the tree the flake is. */
  readonly dir: string | undefined;
  /** Found by the search path: nix-channel puts what it unpacks into a folder of its own, which is then what is wanted. */
  readonly isChannel: boolean;
}

/** The sources of all roots, by what they can be asked for. */
export interface ServedFlakes {
  /** `nixpkgs`, or with the branch that was asked for: `nixpkgs/nixos-99.11`. The newest of each. */
  readonly byName: ReadonlyMap<string, ServedFlake>;
  /** What the registry is to say: names that flakes use, and those of inputs that mean one thing everywhere. */
  readonly registered: readonly RegisteredFlake[];
  readonly byHashPart: ReadonlyMap<string, ServedFlake>;
}

export interface RegisteredFlake {
  readonly id: string;
  readonly ref: string | undefined;
  readonly name: string;
}

/**
 * Which sources may be asked for by which names. Of several revisions the one that was modified last counts, whatever the order in which they came: an older
 * shipment never moves a name back.
 */
export function listServedFlakes({ roots }: EvaluationInputsList): ServedFlakes {
  const byName = new Map<string, ServedFlake>();
  const byHashPart = new Map<string, ServedFlake>();
  const registered = new Map<string, RegisteredFlake>();
  for (const { inputs } of roots) {
    for (const input of inputs) {
      if (input.kind !== 'channel' && (input.kind !== 'flake' || input.locked === undefined)) continue;
      const flake = servedFlake(input);
      byHashPart.set(flake.hashPart, newer(byHashPart.get(flake.hashPart), flake));
      for (const { id, ref } of namesOf(input)) {
        const name = ref === undefined ? id : `${id}/${ref}`;
        byName.set(name, newer(byName.get(name), flake));
        registered.set(name, { id, ref, name });
      }
    }
  }
  const sorted = [...registered.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
  return { byName, byHashPart, registered: sorted };
}

function servedFlake({ kind, path, locked = {}, original = {} }: RootEvaluationInput): ServedFlake {
  const dir = locked['dir'] ?? original['dir'];
  return {
    hashPart: path.slice(0, 32) as HashPart,
    lastModified: wholeNumber(locked['lastModified']) ?? 1,
    rev: textOf(locked['rev'], /^[0-9a-f]{40}([0-9a-f]{24})?$/),
    revCount: wholeNumber(locked['revCount']),
    dir: textOf(dir, /^[A-Za-z0-9._+/-]+$/),
    isChannel: kind === 'channel',
  };
}

/** An input of a flake's own, and what was asked of the registry. Names of inputs of inputs say nothing to others. */
function* namesOf({
  kind,
  name,
  original = {},
}: RootEvaluationInput): Generator<{ id: string; ref: string | undefined }> {
  const ref = branchOf(original);
  if (FLAKE_ID.test(name)) {
    yield { id: name, ref: undefined };
    if (ref !== undefined) yield { id: name, ref };
  }
  const id = original['type'] === 'indirect' ? textOf(original['id'], FLAKE_ID) : undefined;
  if (kind !== 'flake' || id === undefined || id === name) return;
  yield { id, ref: undefined };
  if (ref !== undefined) yield { id, ref };
}

function branchOf({ ref }: FlakeReference): string | undefined {
  return textOf(ref, FLAKE_REF);
}

/** As Nix has them (flakeref: flakeIdRegex, refRegex), without slashes: each is one part of an address here. */
const FLAKE_ID = /^[a-zA-Z][a-zA-Z0-9_-]{0,99}$/;
const FLAKE_REF = /^[a-zA-Z0-9@][a-zA-Z0-9_.@+-]{0,99}$/;

function newer(known: ServedFlake | undefined, flake: ServedFlake): ServedFlake {
  if (known === undefined) return flake;
  if (known.lastModified !== flake.lastModified) return known.lastModified > flake.lastModified ? known : flake;
  // Any order will do, if it is always the same.
  return known.hashPart > flake.hashPart ? known : flake;
}

function textOf(value: unknown, pattern: RegExp): string | undefined {
  return typeof value === 'string' && pattern.test(value) ? value : undefined;
}

function wholeNumber(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}
