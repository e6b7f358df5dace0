import { createHash } from 'node:crypto';
import { LIMITS } from '../base/limits.ts';
import type { Mirror } from '../mirror/mirror.ts';
import {
  type InventoryRecord,
  type NeedLine,
  type PathLine,
  pathLine,
  type RootLine,
  type STREAM_FOLDERS,
} from './inventory.ts';
import { mapAhead } from './map-ahead.ts';
import { type PackedMember, packMembers } from './pack-members.ts';
import { damagedNarInfo, type PackPlan, type PlannedNeed, type PlannedPath, readPackedNarInfo } from './pack-plan.ts';
import { rootDigest } from './root-digest.ts';
import { statedFields } from './root-line.ts';
import type { Place } from './stream-layout.ts';

/** The roots as the inventory states them, in the order of the plan. */
export function rootLines(plan: PackPlan): RootLine[] {
  const pathsByRoot: (PlannedNeed | PlannedPath)[][] = plan.roots.map(() => []);
  for (const path of [...plan.needs, ...plan.paths]) for (const root of path.roots) pathsByRoot[root]?.push(path);
  return plan.roots.map((root, position) => {
    const paths = pathsByRoot[position] ?? [];
    return {
      type: 'root',
      ...statedFields(root),
      pathCount: paths.length,
      narSizeBytes: paths.reduce((total, path) => total + path.narSizeBytes, 0),
      digest: rootDigest(paths),
      ...(root.asOf === undefined ? {} : { asOf: root.asOf }),
    };
  });
}

/** The lines of the inventory in their order: roots, what they need from before, then what the stream holds, as the stream holds it. */
export async function* inventoryRecords(
  mirror: Mirror,
  plan: PackPlan,
  roots: readonly RootLine[],
  volumeSizeBytes: number,
): AsyncGenerator<InventoryRecord> {
  yield* roots;
  for (const need of plan.needs) yield needLine(need);
  const lines = linesToRead(mirror, packMembers(plan, volumeSizeBytes));
  yield* mapAhead(lines, LIMITS.narInfoReadsInFlight, (read) => read());
}

function needLine({ path, narHash, narSizeBytes, roots, sequence }: PlannedNeed): NeedLine {
  return {
    type: 'need',
    path,
    narHash,
    narSizeBytes,
    roots: [...roots],
    ...(sequence === undefined ? {} : { sequence }),
  };
}

/** What is to be done for each line after those of the roots. */
function* linesToRead(mirror: Mirror, members: Iterable<PackedMember>): Generator<() => Promise<InventoryRecord>> {
  const narPlaces = new Map<string, Place>();
  for (const member of members) {
    if (member.role === 'nar') narPlaces.set(member.name, member.place);
    else if (member.role === 'folder') yield () => folderLine(member);
    else if (member.role === 'file') yield () => fileLine(mirror, member);
    else yield () => linePath(mirror, member, narPlaces);
  }
}

async function folderLine(member: PackedMember): Promise<InventoryRecord> {
  return { type: 'folder', name: member.name as (typeof STREAM_FOLDERS)[number] };
}

async function fileLine(mirror: Mirror, member: PackedMember): Promise<InventoryRecord> {
  const bytes = await readPlannedFile(mirror, member);
  return { type: 'file', name: member.name, sizeBytes: bytes.length, sha256: sha256Hex(bytes), ...member.place };
}

/** A small file of the mirror, as long as it was when the shipment was planned. */
export async function readPlannedFile(mirror: Mirror, member: PackedMember): Promise<Buffer> {
  const bytes = await mirror.storage.read(member.name);
  if (bytes?.length === member.sizeBytes) return bytes;
  throw damagedNarInfo(mirror, member.name, 'it changed while it was being packed');
}

async function linePath(
  mirror: Mirror,
  member: PackedMember,
  narPlaces: ReadonlyMap<string, Place>,
): Promise<PathLine> {
  const planned = member.path;
  const narPlace = planned === undefined ? undefined : narPlaces.get(planned.nar.name);
  if (planned === undefined || narPlace === undefined) throw new Error(`${member.name} was planned without its NAR`);
  const { info, bytes, compression } = await readPackedNarInfo(mirror, planned.path);
  if (bytes.length !== member.sizeBytes)
    throw damagedNarInfo(mirror, member.name, 'it changed while it was being packed');
  const narInfo = { ...member.place, sizeBytes: bytes.length, sha256: sha256Hex(bytes) };
  return pathLine(info, compression, planned.roots, narPlace, narInfo);
}

function sha256Hex(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
