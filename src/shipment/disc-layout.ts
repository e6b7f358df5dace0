import { formatBytes } from '../base/amounts.ts';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { VOLUME_BYTES_DEFAULT, VOLUME_BYTES_MIN } from './format.ts';
import type { PackedMember } from './pack-members.ts';
import { tarHeaderBytes, tarMemberBytes } from './tar-header.ts';

/** What has to be on the discs beside the volumes. */
export interface DiscLoad {
  readonly discBytes: number;
  /** The inventory goes onto every disc. */
  readonly inventoryBytes: number;
  /** The sizes of the tools, which go onto the first. */
  readonly toolsBytes: readonly number[];
}

/** A disc has about this many volumes: what is left over at its end is a small part of it, and so is what one bad volume costs. */
const VOLUMES_PER_DISC = 32;

/** The size of volumes for discs, where none is asked for. */
export function volumeSizeForDiscs(discBytes: number, streamBytes: number): number {
  const wanted = Math.max(discBytes / VOLUMES_PER_DISC, (2 * streamBytes) / LIMITS.shipmentVolumes, VOLUME_BYTES_MIN);
  return Math.floor(Math.min(wanted, VOLUME_BYTES_DEFAULT) / 512) * 512;
}

/**
 * Which disc each volume goes onto, from 1 on, in order. A NAR that is cut lies on one disc as a whole unless it is larger than a disc: each disc
 * can then be imported for itself. `isCut` says of each volume whether a NAR goes on in the next one. Throws `usage`, with the numbers,
 * when a disc cannot take what it must.
 */
export function assignDiscs(volumeSizes: readonly number[], isCut: readonly boolean[], load: DiscLoad): number[] {
  const room = roomOf(load);
  checkRoom(volumeSizes, room, load);
  const discs: number[] = [];
  let left = room.first;
  let disc = 1;
  const put = (sizes: readonly number[]): void => {
    for (const size of sizes) {
      if (spaceOnDisc(size) > left) {
        disc++;
        left = room.other;
      }
      left -= spaceOnDisc(size);
      discs.push(disc);
    }
  };
  for (const group of groups(volumeSizes, isCut)) {
    const groupBytes = sum(group.map(spaceOnDisc));
    if (groupBytes > left && groupBytes <= room.other) left = 0;
    put(group);
  }
  return discs;
}

/** Of each volume, whether a member goes on in the next one. */
export function findCuts(members: Iterable<PackedMember>, volumeCount: number, volumeSizeBytes: number): boolean[] {
  const isCut = Array.from({ length: volumeCount }, () => false);
  for (const member of members) {
    const end = member.place.offset - tarHeaderBytes(member) + tarMemberBytes(member);
    const last = member.place.volume + Math.ceil(end / volumeSizeBytes) - 1;
    for (let volume = member.place.volume; volume < last; volume++) isCut[volume - 1] = true;
  }
  return isCut;
}

/** What a file of this size takes on a disc, directory records included. */
export function spaceOnDisc(sizeBytes: number): number {
  return Math.ceil(sizeBytes / BLOCK_BYTES) * BLOCK_BYTES + FILE_RECORDS_BYTES;
}

/** A block of ISO 9660 and UDF. */
const BLOCK_BYTES = 2048;
/** Records of a file in the trees of ISO 9660, Joliet and UDF, and its entry in the latter: less than this together. */
const FILE_RECORDS_BYTES = 4096;
/** The file system itself with its reserved blocks (under 2 MiB for ISO 9660 and UDF together), and manifest, signature, read-me and sums. */
const DISC_SPARE_BYTES = 4 * 1024 * 1024;

function roomOf({ discBytes, inventoryBytes, toolsBytes }: DiscLoad): { first: number; other: number } {
  const other = discBytes - DISC_SPARE_BYTES - spaceOnDisc(inventoryBytes);
  return { other, first: other - sum(toolsBytes.map(spaceOnDisc)) };
}

function checkRoom(
  volumeSizes: readonly number[],
  room: { readonly first: number; readonly other: number },
  { discBytes, inventoryBytes, toolsBytes }: DiscLoad,
): void {
  const disc = `a disc of ${formatBytes(discBytes)}`;
  const besides = `the inventory (${formatBytes(inventoryBytes)}) and ${formatBytes(DISC_SPARE_BYTES)} for the file system and small files`;
  if (room.other < VOLUME_BYTES_MIN) {
    throw new NixferryError('usage', `${disc} has no room for volumes beside ${besides}`, {
      hint: 'take larger discs (--medium), or pack fewer roots at a time',
    });
  }
  if (room.first < 0) {
    const tools = formatBytes(sum(toolsBytes));
    throw new NixferryError('usage', `${disc} has no room for tools/ (${tools}) beside ${besides}`, {
      hint: 'take larger discs (--medium), or leave out Nixferry itself: --no-tools',
    });
  }
  const largest = volumeSizes.reduce((most, size) => Math.max(most, size), 0);
  if (spaceOnDisc(largest) > room.other) {
    throw new NixferryError(
      'usage',
      `a volume of ${formatBytes(largest)} does not fit onto ${disc} beside ${besides}; ${formatBytes(room.other)} are left`,
      { hint: 'choose a smaller --volume-size, or larger discs (--medium)' },
    );
  }
}

function* groups(volumeSizes: readonly number[], isCut: readonly boolean[]): Generator<number[]> {
  let group: number[] = [];
  for (const [index, size] of volumeSizes.entries()) {
    group.push(size);
    if (isCut[index] === true) continue;
    yield group;
    group = [];
  }
  if (group.length > 0) yield group;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
