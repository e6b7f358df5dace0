// The headers of the tar stream. Each is a function of a member's name, kind and size alone: a reader does not parse headers, it
// computes them from the signed inventory and compares. So no member can be anything else than what the sender signed.

export interface TarMember {
  /** Relative, with `/` between its parts; a folder's name ends with one. */
  readonly name: string;
  readonly kind: 'file' | 'folder';
  /** Of the contents; 0 for a folder. */
  readonly sizeBytes: number;
}

export const TAR_BLOCK_BYTES = 512;
/** What ends a stream: two blocks of zeros. (POSIX ustar) */
export const TAR_END_BYTES = 2 * TAR_BLOCK_BYTES;

/** The zeros behind contents of this size, up to the next block. */
export function tarPaddingBytes(sizeBytes: number): number {
  return (TAR_BLOCK_BYTES - (sizeBytes % TAR_BLOCK_BYTES)) % TAR_BLOCK_BYTES;
}

/** The size of what `formatTarHeader` gives. */
export function tarHeaderBytes(member: TarMember): number {
  const records = paxRecords(member);
  if (records === '') return TAR_BLOCK_BYTES;
  return 2 * TAR_BLOCK_BYTES + records.length + tarPaddingBytes(records.length);
}

/** Header, contents and padding together. */
export function tarMemberBytes(member: TarMember): number {
  return tarHeaderBytes(member) + member.sizeBytes + tarPaddingBytes(member.sizeBytes);
}

/**
 * The header of a member, with a pax extended header in front where ustar has no room: for names beyond 100 bytes and contents of
 * 8 GiB and more. Owner, times and modes are the same everywhere, so that equal contents give equal bytes. (POSIX pax interchange format)
 */
export function formatTarHeader(member: TarMember): Buffer {
  const records = paxRecords(member);
  const isLong = member.name.length > NAME_BYTES;
  const main = formatBlock({
    name: isLong ? LONG_NAME : member.name,
    type: member.kind === 'folder' ? '5' : '0',
    mode: member.kind === 'folder' ? 0o755 : 0o644,
    sizeBytes: member.sizeBytes > SIZE_MAX ? 0 : member.sizeBytes,
  });
  if (records === '') return main;
  const extended = formatBlock({ name: PAX_NAME, type: 'x', mode: 0o644, sizeBytes: records.length });
  return Buffer.concat([extended, Buffer.from(records, 'latin1'), Buffer.alloc(tarPaddingBytes(records.length)), main]);
}

const NAME_BYTES = 100;
const SIZE_MAX = 0o77777777777;
const PAX_NAME = 'PaxHeaders/member';
const LONG_NAME = 'long-name';
/** Second 1 of 1970, as in the Nix store: never in the future, whatever the clock of the isolated side says. */
const MODIFIED_SECONDS = 1;

function paxRecords({ name, sizeBytes }: TarMember): string {
  const path = name.length > NAME_BYTES ? paxRecord('path', name) : '';
  const size = sizeBytes > SIZE_MAX ? paxRecord('size', String(sizeBytes)) : '';
  return path + size;
}

// A record begins with its own length, digits included: each further digit may lengthen it once more.
function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length++;
  return `${length}${rest}`;
}

function formatBlock(field: { name: string; type: string; mode: number; sizeBytes: number }): Buffer {
  const block = Buffer.alloc(TAR_BLOCK_BYTES);
  block.write(field.name, 0, NAME_BYTES, 'latin1');
  block.write(`${octal(field.mode, 7)}\0${octal(0, 7)}\0${octal(0, 7)}\0`, 100, 'latin1');
  block.write(`${octal(field.sizeBytes, 11)}\0${octal(MODIFIED_SECONDS, 11)}\0`, 124, 'latin1');
  block.write('        ', 148, 'latin1');
  block.write(field.type, 156, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  block.write(`${octal(0, 7)}\0${octal(0, 7)}\0`, 329, 'latin1');
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${octal(sum, 6)}\0 `, 148, 'latin1');
  return block;
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, '0');
}
