import { CACHE_INFO_NAME } from '../mirror/layout.ts';
import type { ImportFailure, StreamImport } from './import-work.ts';
import type { FileLine } from './inventory.ts';
import type { WalkedMember } from './inventory-walk.ts';
import { VolumeMissing } from './medium-reader.ts';
import { checkFile, readMember } from './member-check.ts';
import type { StagedFile } from './staged-file.ts';
import { extentOf, fromAnyCopy, isDamage } from './volume-copies.ts';

/** Reads a small file, from the medium or from what an earlier import left waiting, and checks it. Undefined when that cannot be; why is noted. */
export async function stageFile(
  work: StreamImport,
  { line, at }: { readonly line: FileLine; readonly at: WalkedMember },
  failures: ImportFailure[],
): Promise<StagedFile | undefined> {
  const { name, sha256 } = line;
  const waiting = await work.waitingFiles.read(line);
  if (waiting !== undefined) return { name, sha256, bytes: waiting };
  const isOwn = name === CACHE_INFO_NAME;
  const bytes = await tryMember(work, at, failures, isOwn ? undefined : name, (contents) =>
    checkFile(contents, name, sha256),
  );
  // The mirror has a nix-cache-info of its own.
  return bytes === undefined || isOwn ? undefined : { name, sha256, bytes };
}

/** Checks a folder of the stream; what is wrong with it is noted. */
export async function checkFolder(work: StreamImport, at: WalkedMember, failures: ImportFailure[]): Promise<void> {
  await tryMember(work, at, failures, undefined, () => {});
}

/** Reads a member and gives its contents; what is wrong with it is noted, under the name of the `file` that the mirror does not get. */
async function tryMember(
  { reader }: StreamImport,
  at: WalkedMember,
  failures: ImportFailure[],
  file: string | undefined,
  check: (contents: Buffer) => void,
): Promise<Buffer | undefined> {
  const extents = [extentOf(at)];
  const note = (kind: ImportFailure['kind'], volumes: readonly string[], reason: string): undefined => {
    const lost = file === undefined ? {} : { file };
    failures.push({ kind, volumes: volumes.join(' and '), member: at.member.name, ...lost, reason });
  };
  try {
    return await fromAnyCopy(reader, extents, async (copy) => {
      const contents = await readMember(reader, at, copy);
      check(contents);
      return contents;
    });
  } catch (error) {
    if (error instanceof VolumeMissing) return note('missing-volume', reader.missingOf(extents), error.message);
    if (isDamage(error)) return note('damage', await reader.damagedOf(extents), error.message);
    throw error;
  }
}
