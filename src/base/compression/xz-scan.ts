import { damaged } from './damage.ts';
import { XzCursor } from './xz-cursor.ts';

/** What the container of a .xz file says about its contents, before anything is decoded. */
export interface XzScan {
  /** One entry a stream; concatenated streams are allowed. Positions are in compressed bytes. */
  readonly streams: readonly { readonly start: number; readonly end: number }[];
  /** Exact size of the output: the LZMA2 chunk headers state it, and a decoder cannot give more than they say. */
  readonly outputBytes: number;
}

/**
 * Walks over the streams, blocks and LZMA2 chunks of a whole .xz file without decoding. Returns undefined for files that only the `xz` program
 * can decode: filters before LZMA2, or a SHA-256 check. Throws `damage` when the container is cut short or malformed.
 *
 * Source: "The .xz File Format" 1.2.1 (tukaani.org), and the chunk layout of LZMA2 in xz-embedded's xz_dec_lzma2.c comments.
 */
export function scanXz(bytes: Uint8Array): XzScan | undefined {
  const streams: { start: number; end: number }[] = [];
  const cursor = new XzCursor(bytes);
  let outputBytes = 0;
  while (cursor.at < bytes.length) {
    const start = cursor.at;
    const streamBytes = scanStream(cursor);
    if (streamBytes === undefined) return undefined;
    outputBytes += streamBytes;
    streams.push({ start, end: cursor.at });
    while (cursor.peekWord() === 0) cursor.skip(4);
  }
  if (streams.length === 0) throw damaged('xz', 'it is empty');
  return { streams, outputBytes };
}

const HEADER_MAGIC = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00] as const;
const LZMA2_FILTER = 0x21;
/** Bytes of check after each block by check id; SHA-256 (id 10) and the reserved ids are the program's business. */
const CHECK_BYTES: ReadonlyMap<number, number> = new Map([
  [0, 0],
  [1, 4],
  [4, 8],
]);

function scanStream(cursor: XzCursor): number | undefined {
  for (const byte of HEADER_MAGIC) {
    if (cursor.byte() !== byte) throw damaged('xz', `no xz stream begins where one should, before byte ${cursor.at}`);
  }
  cursor.skip(1);
  const checkBytes = CHECK_BYTES.get(cursor.byte());
  if (checkBytes === undefined) return undefined;
  cursor.skip(4);
  let outputBytes = 0;
  for (;;) {
    const headerStart = cursor.at;
    const headerSize = cursor.byte();
    if (headerSize === 0) break;
    if (!hasOnlyLzma2(cursor)) return undefined;
    cursor.at = headerStart + (headerSize + 1) * 4;
    outputBytes += scanLzma2(cursor);
    cursor.align();
    cursor.skip(checkBytes);
  }
  skipIndex(cursor);
  cursor.skip(12);
  return outputBytes;
}

function hasOnlyLzma2(cursor: XzCursor): boolean {
  const flags = cursor.byte();
  const filterCount = (flags & 0b11) + 1;
  if (filterCount !== 1) return false;
  if ((flags & 0x40) !== 0) cursor.variableInteger();
  if ((flags & 0x80) !== 0) cursor.variableInteger();
  return cursor.variableInteger() === LZMA2_FILTER;
}

/** Sums what the chunks of one block announce. */
function scanLzma2(cursor: XzCursor): number {
  let outputBytes = 0;
  for (;;) {
    const control = cursor.byte();
    if (control === 0) return outputBytes;
    if (control >= 0x80) {
      outputBytes += ((control & 0x1f) << 16) + cursor.bigEndianShort() + 1;
      const compressedBytes = cursor.bigEndianShort() + 1;
      const carriesProperties = control >= 0xc0;
      cursor.skip(compressedBytes + (carriesProperties ? 1 : 0));
    } else if (control <= 2) {
      const plainBytes = cursor.bigEndianShort() + 1;
      outputBytes += plainBytes;
      cursor.skip(plainBytes);
    } else {
      throw damaged('xz', `a chunk of unknown kind before byte ${cursor.at}`);
    }
  }
}

function skipIndex(cursor: XzCursor): void {
  const records = cursor.variableInteger();
  for (let record = 0; record < records; record += 1) {
    cursor.variableInteger();
    cursor.variableInteger();
  }
  cursor.align();
  cursor.skip(4);
}
