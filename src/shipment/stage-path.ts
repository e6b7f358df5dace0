import { NixferryError } from '../base/errors.ts';
import { intakeNar, isBroughtIn, withIntakenNar } from '../mirror/nar-intake.ts';
import type { PublishCandidate } from '../mirror/publish.ts';
import { assessTrust } from '../mirror/trust.ts';
import type { NarInfo } from '../nix/index.ts';
import type { ImportFailure, StreamImport } from './import-work.ts';
import { narInfoOf } from './inventory.ts';
import type { WalkedLine } from './inventory-walk.ts';
import { VolumeMissing } from './medium-reader.ts';
import { checkFile, checkLargeMember, checkNarInfo, readMember } from './member-check.ts';
import { tarHeaderBytes, tarMemberBytes } from './tar-header.ts';
import { type Extent, extentOf, fromAnyCopy, isDamage } from './volume-copies.ts';

type PathEntry = Extract<WalkedLine, { type: 'path' }>;

/** NARs up to this size are read as a whole; larger ones stream by. */
const SMALL_NAR_BYTES = 8 * 1024 * 1024;
/** What a NAR that streams by may hold in memory: chunks on their way, and the windows of decoders. */
const STREAMED_NAR_BYTES = 12 * 1024 * 1024;

/** What a path on its way holds beside its bytes, so that of small ones some sixty are on their way: more are no faster and fill the heap. */
const STAGING_BYTES = 512 * 1024;

/** The memory that `stagePath` needs for a path, about. */
export function stagedBytes({ nar }: PathEntry): number {
  return nar.member.sizeBytes <= SMALL_NAR_BYTES ? STAGING_BYTES + tarMemberBytes(nar.member) : STREAMED_NAR_BYTES;
}

/**
 * Brings the NAR of a path from the medium into the mirror's partial folder and checks everything about it: tar headers, the narinfo against
 * the signed inventory, FileHash, NarHash and NarSize. Undefined when that cannot be; why is noted.
 */
export async function stagePath(
  work: StreamImport,
  entry: PathEntry,
  failures: ImportFailure[],
): Promise<PublishCandidate | undefined> {
  const { nar, narInfo } = entry;
  const { path } = entry.line;
  const note = (kind: ImportFailure['kind'], volumes: string, reason: string, isSplit = false): undefined => {
    failures.push({ kind, volumes, member: nar.member.name, path, reason, isSplit });
  };
  const extents = [nar, narInfo].map(extentOf);
  try {
    const candidate =
      (await stageAgain(work, entry, extents)) ??
      (await fromAnyCopy(work.reader, extents, (copy) => stageFromCopy(work, entry, copy)));
    const refusal = await findDistrust(work, candidate);
    return refusal === undefined ? candidate : note('not-trusted', '', refusal);
  } catch (error) {
    if (error instanceof VolumeMissing) {
      const missing = work.reader.missingOf(extents);
      const isSplit = missing.length < work.reader.namesOf(extents).length;
      return note('missing-volume', missing.join(' and '), error.message, isSplit);
    }
    if (!isDamage(error)) throw error;
    return note('damage', (await work.reader.damagedOf(extents)).join(' and '), error.message);
  }
}

/**
 * A NAR that an earlier import has brought, and that had to wait for a path it refers to, needs no volume again: what is to be known beside its bytes
 * stands in the signed inventory. Undefined when it is not there as a whole, or the volumes are at hand anyway.
 */
async function stageAgain(
  work: StreamImport,
  { line }: PathEntry,
  extents: readonly Extent[],
): Promise<PublishCandidate | undefined> {
  if (work.reader.missingOf(extents).length === 0) return undefined;
  const info = narInfoOf(line, work.storeDir);
  if (!(await isBroughtIn({ mirror: work.mirror, expected: info }))) return undefined;
  try {
    const intaken = await intakeNar({
      mirror: work.mirror,
      expected: info,
      open: refuseToOpen,
      what: line.path,
      signal: work.signal,
    });
    return { info: withIntakenNar(info, intaken), narFile: intaken.file };
  } catch (error) {
    if (isDamage(error)) return undefined;
    throw error;
  }
}

async function refuseToOpen(): Promise<never> {
  throw new NixferryError('damage', 'what an earlier import had brought is damaged');
}

async function stageFromCopy(work: StreamImport, entry: PathEntry, copy: number): Promise<PublishCandidate> {
  const { line, nar, narInfo } = entry;
  const info = narInfoOf(line, work.storeDir);
  const narInfoBytes = await readMember(work.reader, narInfo, copy);
  checkFile(narInfoBytes, narInfo.member.name, line.narInfo.sha256);
  checkNarInfo(narInfoBytes, info, work.storeDir);
  const intaken = await intakeNar({
    mirror: work.mirror,
    expected: info,
    open: nar.member.sizeBytes <= SMALL_NAR_BYTES ? openSmall(work, entry, copy) : openLarge(work, entry, copy),
    what: line.path,
    signal: work.signal,
    onBytes: (bytes) => work.onProgress({ type: 'advance', bytes }),
  });
  if (nar.member.sizeBytes > SMALL_NAR_BYTES) await checkLargeMember(work.reader, nar, copy);
  return { info: withIntakenNar(info, intaken), narFile: intaken.file };
}

type Open = (offset: number) => Promise<{ stream: AsyncIterable<Uint8Array>; offset: number }>;

function openSmall({ reader }: StreamImport, { nar }: PathEntry, copy: number): Open {
  return async (offset) => {
    const contents = await readMember(reader, nar, copy);
    return { stream: oneChunk(contents.subarray(offset)), offset };
  };
}

function openLarge({ reader }: StreamImport, { nar }: PathEntry, copy: number): Open {
  return async (offset) => {
    const start = nar.position + tarHeaderBytes(nar.member) + offset;
    return { stream: reader.stream(start, nar.member.sizeBytes - offset, copy), offset };
  };
}

async function* oneChunk(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** Why the path lacks the proof of its origin that was asked for; undefined when it has it, or none was asked for. */
async function findDistrust(work: StreamImport, { info, narFile }: PublishCandidate): Promise<string | undefined> {
  if (work.originKeys === undefined) return undefined;
  const trust = await assessTrust(info as NarInfo, work.originKeys, narFile, work.signal);
  return trust.trusted ? undefined : trust.reason;
}
