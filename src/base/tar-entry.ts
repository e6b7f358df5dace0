import { isUtf8 } from 'node:buffer';

/** One entry of a tar archive, without its contents. Names are bytes, and relative. */
export interface TarEntry {
  readonly name: Buffer;
  readonly type: 'file' | 'directory' | 'symlink';
  /** Permission bits. */
  readonly mode: number;
  /** Of a file. */
  readonly sizeBytes: number;
  /** Seconds since 1970. */
  readonly modifiedSeconds: number;
  /** Of a symlink. */
  readonly target?: Buffer;
}

const BLOCK_BYTES = 512;
const TYPES = { file: '0', directory: '5', symlink: '2' } as const;

/**
 * The header of an entry (POSIX.1-2017, pax interchange format): one block where the names fit, else preceded by a pax header. Nobody owns it. Contents follow, padded
 * to whole blocks with `tarPadding`; two blocks of zeros end the archive.
 */
export function tarHeader(entry: TarEntry): Buffer {
  const records = [
    ...paxRecord('path', entry.name, 100),
    ...paxRecord('linkpath', entry.target ?? Buffer.alloc(0), 100),
    ...(entry.sizeBytes > MAX_OCTAL_SIZE ? [record('size', Buffer.from(String(entry.sizeBytes)))] : []),
  ];
  const own = block(entry, TYPES[entry.type]);
  if (records.length === 0) return own;
  // What is no UTF-8 must be said to be none, and other programs need not hear of it.
  const isText = records.every((one) => isUtf8(one));
  const text = Buffer.concat(isText ? records : [record('hdrcharset', Buffer.from('BINARY')), ...records]);
  const plain = { name: Buffer.from('PaxHeaders/entry'), type: 'file', mode: 0o644, sizeBytes: text.length } as const;
  return Buffer.concat([block({ ...plain, modifiedSeconds: 0 }, 'x'), text, tarPadding(text.length), own]);
}

/** The zeros that follow contents of this size. */
export function tarPadding(sizeBytes: number): Buffer {
  return Buffer.alloc((BLOCK_BYTES - (sizeBytes % BLOCK_BYTES)) % BLOCK_BYTES);
}

export const TAR_END = Buffer.alloc(2 * BLOCK_BYTES);

const MAX_OCTAL_SIZE = 0o77777777777;

function paxRecord(key: string, value: Buffer, roomBytes: number): Buffer[] {
  return value.length <= roomBytes ? [] : [record(key, value)];
}

/** `<length> <key>=<value>\n`, where the length counts itself. */
function record(key: string, value: Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from('\n')]);
  let lengthBytes = rest.length + 1;
  while (String(lengthBytes).length + rest.length !== lengthBytes) {
    lengthBytes = String(lengthBytes).length + rest.length;
  }
  return Buffer.concat([Buffer.from(String(lengthBytes)), rest]);
}

function block(entry: TarEntry, type: string): Buffer {
  const header = Buffer.alloc(BLOCK_BYTES);
  entry.name.copy(header, 0, 0, 100);
  header.write(octal(entry.mode, 7), 100);
  header.write(octal(0, 7), 108);
  header.write(octal(0, 7), 116);
  header.write(octal(Math.min(entry.sizeBytes, MAX_OCTAL_SIZE), 11), 124);
  header.write(octal(entry.modifiedSeconds, 11), 136);
  header.write(' '.repeat(8), 148);
  header.write(type, 156);
  entry.target?.copy(header, 157, 0, 100);
  header.write('ustar\u000000', 257);
  header.write(octal(0, 7), 329);
  header.write(octal(0, 7), 337);
  let sum = 0;
  for (const byte of header) sum += byte;
  header.write(`${octal(sum, 6)}\u0000 `, 148);
  return header;
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, '0');
}
