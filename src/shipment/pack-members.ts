import { narInfoName } from '../mirror/layout.ts';
import { hashPartOf } from '../nix/index.ts';
import { STREAM_FOLDERS } from './inventory.ts';
import type { PackPlan, PlannedPath } from './pack-plan.ts';
import { type Place, VolumeLayout } from './stream-layout.ts';
import type { TarMember } from './tar-header.ts';

/** A member of the stream, where its contents will lie, and what they are. */
export interface PackedMember extends TarMember {
  readonly place: Place;
  readonly role: 'folder' | 'file' | 'nar' | 'narInfo';
  /** The path that it belongs to. */
  readonly path?: PlannedPath;
}

/**
 * All members in the order of the stream: nix-cache-info, the folders, then of each path its NAR, its narinfo and its listing, then
 * realisations. A function of the plan: every pass over it places them alike. Returns the sizes of the volumes.
 */
export function* packMembers(plan: PackPlan, volumeSizeBytes: number): Generator<PackedMember, readonly number[]> {
  const layout = new VolumeLayout(volumeSizeBytes);
  const put = (role: PackedMember['role'], name: string, sizeBytes: number, path?: PlannedPath): PackedMember => {
    const member = { name, kind: role === 'folder' ? ('folder' as const) : ('file' as const), sizeBytes };
    return { ...member, place: layout.place(member), role, ...(path === undefined ? {} : { path }) };
  };
  yield put('file', plan.cacheInfo.name, plan.cacheInfo.sizeBytes);
  for (const folder of STREAM_FOLDERS) yield put('folder', folder, 0);
  for (const path of plan.paths) {
    if (!path.isNarShared) yield put('nar', path.nar.name, path.nar.sizeBytes, path);
    yield put('narInfo', narInfoName(hashPartOf(path.path)), path.narInfoSizeBytes, path);
    if (path.listing !== undefined) yield put('file', path.listing.name, path.listing.sizeBytes);
  }
  for (const file of plan.files) yield put('file', file.name, file.sizeBytes);
  return layout.finish();
}

/** The sizes of the volumes that the plan will fill. */
export function volumeSizesOf(plan: PackPlan, volumeSizeBytes: number): readonly number[] {
  const members = packMembers(plan, volumeSizeBytes);
  for (;;) {
    const step = members.next();
    if (step.done === true) return step.value;
  }
}
