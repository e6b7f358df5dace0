import { createHash } from 'node:crypto';
import { NixferryError } from '../base/errors.ts';
import type { OnProgress } from '../base/progress.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { hashFromDigest } from '../nix/index.ts';
import { mapAhead } from './map-ahead.ts';
import { readPlannedFile } from './pack-inventory.ts';
import { type PackedMember, packMembers } from './pack-members.ts';
import type { PackPlan } from './pack-plan.ts';
import { formatTarHeader, TAR_END_BYTES, tarMemberBytes, tarPaddingBytes } from './tar-header.ts';
import type { VolumeWriter } from './volume-writer.ts';

/**
 * Writes the whole stream, each NAR hashed on the way. Throws `damage` for a NAR that is not what its narinfo says: no shipment is sealed
 * over it.
 */
export async function writeStream(
  mirror: Mirror,
  plan: PackPlan,
  volumeSizeBytes: number,
  writer: VolumeWriter,
  onProgress: OnProgress,
  signal: AbortSignal | undefined,
): Promise<void> {
  const members = packMembers(plan, volumeSizeBytes);
  const fetched = mapAhead(members, READ_AHEAD, async (member) => ({ member, bytes: await readSmall(mirror, member) }));
  for await (const { member, bytes } of fetched) {
    signal?.throwIfAborted();
    if (!writer.trySkip(tarMemberBytes(member))) {
      await writer.write(formatTarHeader(member));
      if (bytes === undefined) await writeLargeNar(mirror, member, writer, signal);
      else await writer.write(bytes);
      await writer.write(ZEROS.subarray(0, tarPaddingBytes(member.sizeBytes)));
    }
    onProgress({ type: 'advance', items: member.role === 'nar' ? 1 : 0, bytes: tarMemberBytes(member) });
  }
  await writer.write(ZEROS);
}

const READ_AHEAD = 24;
const SMALL_BYTES = 1024 * 1024;
const ZEROS = Buffer.alloc(TAR_END_BYTES);
const NOTHING = Buffer.alloc(0);

/** The contents of a member that is small enough to be read ahead; undefined for others. */
async function readSmall(mirror: Mirror, member: PackedMember): Promise<Buffer | undefined> {
  if (member.role === 'folder') return NOTHING;
  if (member.role !== 'nar') return readPlannedFile(mirror, member);
  if (member.sizeBytes > SMALL_BYTES) return undefined;
  const bytes = await mirror.storage.read(member.name);
  if (bytes === undefined) throw damagedNar(mirror, member, 'is missing');
  checkNar(mirror, member, bytes.length, createHash('sha256').update(bytes).digest());
  return bytes;
}

async function writeLargeNar(
  mirror: Mirror,
  member: PackedMember,
  writer: VolumeWriter,
  signal: AbortSignal | undefined,
): Promise<void> {
  const opened = await mirror.storage.open(member.name);
  if (opened === undefined) throw damagedNar(mirror, member, 'is missing');
  try {
    if (opened.sizeBytes !== member.sizeBytes) throw damagedNar(mirror, member, 'has another size than FileSize');
    const sha256 = createHash('sha256');
    let sizeBytes = 0;
    for await (const chunk of opened.stream as AsyncIterable<Buffer>) {
      signal?.throwIfAborted();
      sha256.update(chunk);
      sizeBytes += chunk.length;
      if (sizeBytes > member.sizeBytes) break;
      await writer.write(chunk);
    }
    checkNar(mirror, member, sizeBytes, sha256.digest());
  } finally {
    opened.stream.destroy();
  }
}

// The name of a NAR file in a mirror is the hash of its bytes, as FileHash is: the plan took the name from the narinfo.
function checkNar(mirror: Mirror, member: PackedMember, sizeBytes: number, digest: Buffer): void {
  if (sizeBytes !== member.sizeBytes) throw damagedNar(mirror, member, 'has another size than FileSize');
  const digits = hashFromDigest('sha256', digest).slice('sha256:'.length);
  if (!member.name.startsWith(`nar/${digits}.nar`)) throw damagedNar(mirror, member, 'has another hash than FileHash');
}

function damagedNar(mirror: Mirror, member: PackedMember, why: string): NixferryError {
  const path = member.path?.path ?? 'a path';
  return new NixferryError('damage', `${member.name}, the NAR of ${path}, ${why} in the mirror ${mirror.directory}`, {
    hint: `type: nixferry verify --mirror ${mirror.directory} (with --upstream URL it is fetched anew), then pack again`,
  });
}
