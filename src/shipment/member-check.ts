import { hash } from 'node:crypto';
import { asCompression } from '../base/compression/compression.ts';
import { NixferryError } from '../base/errors.ts';
import { formatNarInfo, type NarInfo, NixFormatError, parseNarInfo } from '../nix/index.ts';
import type { WalkedMember } from './inventory-walk.ts';
import type { MediumReader } from './medium-reader.ts';
import { formatTarHeader, tarHeaderBytes, tarMemberBytes, tarPaddingBytes } from './tar-header.ts';

/** Reads a small member as a whole and gives its contents; header and padding must be exactly those that follow from its name and size. */
export async function readMember(reader: MediumReader, at: WalkedMember, copy: number): Promise<Buffer> {
  const bytes = await reader.read(at.position, tarMemberBytes(at.member), copy);
  const start = tarHeaderBytes(at.member);
  const end = start + at.member.sizeBytes;
  checkHeader(bytes.subarray(0, start), at);
  checkPadding(bytes.subarray(end), at);
  return bytes.subarray(start, end);
}

/** Checks what lies before and behind the contents of a member that is too large to be read as a whole. */
export async function checkLargeMember(reader: MediumReader, at: WalkedMember, copy: number): Promise<void> {
  const headerBytes = tarHeaderBytes(at.member);
  checkHeader(await reader.read(at.position, headerBytes, copy), at);
  const paddingBytes = tarPaddingBytes(at.member.sizeBytes);
  if (paddingBytes === 0) return;
  checkPadding(await reader.read(at.position + headerBytes + at.member.sizeBytes, paddingBytes, copy), at);
}

/** Throws `damage` unless the contents of a small file have the sha256 (hex) that the inventory states. */
export function checkFile(contents: Uint8Array, name: string, sha256: string): void {
  if (hash('sha256', contents) !== sha256) throw new NixferryError('damage', `${name} is not what the sender signed`);
}

/** Throws `damage` unless the narinfo that travels in the stream says the same as the signed inventory. */
export function checkNarInfo(contents: Uint8Array, signed: NarInfo, storeDir: string): void {
  const what = `the narinfo of ${signed.storePath}`;
  try {
    const found = parseNarInfo(contents, storeDir);
    const compression = asCompression(found.compression) ?? found.compression;
    if (formatNarInfo({ ...found, compression }) === formatNarInfo(signed)) return;
  } catch (error) {
    if (!(error instanceof NixFormatError)) throw error;
    throw new NixferryError('damage', `${what} cannot be read: ${error.message}`, { cause: error });
  }
  throw new NixferryError('damage', `${what} says other things than the inventory`);
}

function checkHeader(found: Buffer, { member }: WalkedMember): void {
  if (found.equals(formatTarHeader(member))) return;
  throw new NixferryError('damage', `the tar header of ${member.name} is not the one that belongs there`);
}

function checkPadding(found: Buffer, { member }: WalkedMember): void {
  if (found.every((byte) => byte === 0)) return;
  throw new NixferryError('damage', `there are foreign bytes behind ${member.name}`);
}
