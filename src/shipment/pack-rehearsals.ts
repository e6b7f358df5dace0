import { LIMITS } from '../base/limits.ts';
import type { MirrorPlace } from '../mirror/keys.ts';
import { type RehearsalRecord, type RehearsedRoot, readRehearsalLog, readRehearsals } from '../mirror/rehearsals.ts';
import type { ManifestRehearsal, ManifestRoot } from './manifest.ts';

/** A rehearsal that goes along. */
export interface PackedRehearsal {
  readonly stated: ManifestRehearsal;
  readonly log: Buffer;
}

export interface FoundRehearsals {
  readonly packed: readonly PackedRehearsal[];
  /** Roots that were rehearsed, and of which the rehearsal proves nothing any more. */
  readonly outdated: readonly OutdatedRehearsal[];
}

export interface OutdatedRehearsal {
  readonly root: string;
  /** `changed`: the root consists of other paths now. `others`: it was rehearsed with roots that are not packed, whose paths may have helped. */
  readonly reason: 'changed' | 'others';
}

type StatedRoot = Pick<ManifestRoot, 'name' | 'request' | 'scope' | 'digest'>;

/**
 * The latest rehearsal of each root that holds for what is packed: each root that it tried is among those that are packed, and consists of the same
 * paths. So all that Nix had then is in the shipment, or at the site already.
 */
export async function findRehearsals(place: MirrorPlace, roots: readonly StatedRoot[]): Promise<FoundRehearsals> {
  const records = await readRehearsals(place);
  const positions = new Map(roots.map((root, position) => [identity(root), position]));
  const chosen = new Set<RehearsalRecord>();
  const outdated: OutdatedRehearsal[] = [];
  for (const root of roots) {
    const ofRoot = records.filter((record) => record.roots.some((rehearsed) => isSameRequest(rehearsed, root)));
    const holding = ofRoot.find((record) => holdsFor(record, root, positions));
    if (holding !== undefined) chosen.add(holding);
    else if (ofRoot.length > 0) outdated.push({ root: root.name, reason: reasonOf(ofRoot, root) });
  }
  const packed: PackedRehearsal[] = [];
  for (const record of chosen) {
    const log = await readRehearsalLog(place, record.log.sha256);
    if (log !== undefined && packed.length < LIMITS.rehearsalsShipped)
      packed.push(pack(record, log, packed.length, positions));
  }
  return { packed, outdated };
}

function holdsFor(record: RehearsalRecord, root: StatedRoot, positions: ReadonlyMap<string, number>): boolean {
  return (
    record.roots.some((rehearsed) => identity(rehearsed) === identity(root)) &&
    record.roots.every((rehearsed) => positions.has(identity(rehearsed)))
  );
}

function reasonOf(records: readonly RehearsalRecord[], root: StatedRoot): OutdatedRehearsal['reason'] {
  const isUnchanged = records.some((record) =>
    record.roots.some((rehearsed) => identity(rehearsed) === identity(root)),
  );
  return isUnchanged ? 'others' : 'changed';
}

function pack(
  { log: { sha256 }, verdict, nix, roots }: RehearsalRecord,
  log: Buffer,
  index: number,
  positions: ReadonlyMap<string, number>,
): PackedRehearsal {
  return {
    stated: {
      name: `rehearsal-${index + 1}.txt`,
      sizeBytes: log.length,
      sha256,
      verdict,
      nix: nix.slice(0, NIX_CHARACTERS),
      roots: roots.map((root) => positions.get(identity(root)) ?? 0).sort((a, b) => a - b),
    },
    log,
  };
}

/** As the manifest's schema bounds it. */
const NIX_CHARACTERS = 200;

function identity({ request, scope, digest }: Pick<RehearsedRoot, 'request' | 'scope' | 'digest'>): string {
  return JSON.stringify([request, scope, digest]);
}

function isSameRequest(rehearsed: RehearsedRoot, root: StatedRoot): boolean {
  return rehearsed.request === root.request && rehearsed.scope === root.scope;
}
