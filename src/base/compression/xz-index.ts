import { type FileHandle, open } from 'node:fs/promises';
import { NixferryError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { XzCursor } from './xz-cursor.ts';

const FOOTER_BYTES = 12;

/**
 * What the index at the end of a .xz file says that its last stream decodes to, in bytes; undefined where it cannot be told from the end alone. A
 * decoder compares the index with what it decodes, so of a file that it takes for good the true size is this one, or more with earlier streams.
 */
export async function readXzIndex(file: string): Promise<number | undefined> {
  await using handle = await open(file, 'r');
  const { size } = await handle.stat();
  const tailBytes = Math.min(size, LIMITS.xzIndexBytes);
  const tail = await readFully(handle, Buffer.alloc(tailBytes), size - tailBytes);
  return parseXzIndex(tail);
}

/**
 * The same of the last bytes of a file.
 *
 * Source: "The .xz File Format" 1.2.1 (tukaani.org), 2.1.2 (stream footer) and 4 (index).
 */
export function parseXzIndex(tail: Uint8Array): number | undefined {
  const footer = Buffer.from(tail.buffer, tail.byteOffset, tail.byteLength).subarray(-FOOTER_BYTES);
  if (footer.length < FOOTER_BYTES || footer.toString('latin1', 10) !== 'YZ') return undefined;
  const indexBytes = (footer.readUInt32LE(4) + 1) * 4;
  const indexStart = tail.length - FOOTER_BYTES - indexBytes;
  if (indexStart < 0 || tail[indexStart] !== 0) return undefined;
  return sumOfRecords(new XzCursor(tail.subarray(indexStart + 1, tail.length - FOOTER_BYTES)));
}

function sumOfRecords(cursor: XzCursor): number | undefined {
  let outputBytes = 0;
  try {
    for (let left = cursor.variableInteger(); left > 0; left -= 1) {
      cursor.variableInteger();
      outputBytes += cursor.variableInteger();
    }
  } catch (error) {
    if (error instanceof NixferryError && error.code === 'damage') return undefined;
    throw error;
  }
  return Number.isSafeInteger(outputBytes) ? outputBytes : undefined;
}

async function readFully(handle: FileHandle, buffer: Buffer, start: number): Promise<Buffer> {
  let done = 0;
  while (done < buffer.length) {
    const { bytesRead } = await handle.read(buffer, done, buffer.length - done, start + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return buffer.subarray(0, done);
}
