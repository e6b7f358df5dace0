import { crc32 } from 'node:zlib';

const STREAM_HEADER_MAGIC = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00] as const;
const FOOTER_MAGIC = 'YZ';
/** No check of the contents. */
const STREAM_FLAGS = Buffer.from([0x00, 0x00]);
const LZMA2_FILTER = 0x21;
/** A dictionary of 64 KiB: 2^16. */
const DICTIONARY_BYTE = 0x08;
const STORED_CHUNK = 0x01;
export const MOST_STORED_BYTES = 65_536;

/**
 * A .xz stream that decodes to these bytes, 1 to 65536 of them, which stand in it as they are. Throws RangeError for more or none.
 *
 * Source: "The .xz File Format" 1.2.1 (tukaani.org), sections 2 to 4 and 5.3.1 (LZMA2).
 */
export function storeAsXz(bytes: Uint8Array): Buffer {
  if (bytes.length === 0 || bytes.length > MOST_STORED_BYTES)
    throw new RangeError(`${bytes.length} bytes in one chunk`);
  const blockHeader = withCrc32(Buffer.from([2, 0, LZMA2_FILTER, 1, DICTIONARY_BYTE, 0, 0, 0]));
  const chunk = Buffer.from([STORED_CHUNK, 0, 0]);
  chunk.writeUInt16BE(bytes.length - 1, 1);
  const unpaddedBytes = blockHeader.length + chunk.length + bytes.length + 1;
  const index = withCrc32(padded(Buffer.from([0, 1, ...variable(unpaddedBytes), ...variable(bytes.length)])));
  const backward = Buffer.concat([Buffer.alloc(4), STREAM_FLAGS]);
  backward.writeUInt32LE(index.length / 4 - 1);
  return Buffer.concat([
    Buffer.from(STREAM_HEADER_MAGIC),
    withCrc32(STREAM_FLAGS),
    padded(Buffer.concat([blockHeader, chunk, bytes, Buffer.alloc(1)])),
    index,
    withCrc32(backward).subarray(-4),
    backward,
    Buffer.from(FOOTER_MAGIC),
  ]);
}

function withCrc32(bytes: Buffer): Buffer {
  const sum = Buffer.alloc(4);
  sum.writeUInt32LE(crc32(bytes));
  return Buffer.concat([bytes, sum]);
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
}

/** Seven bits a byte, lowest first. */
function variable(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...variable(value >>> 7)];
}
