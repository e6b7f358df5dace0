import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { NixferryError, systemErrorCode } from '../base/errors.ts';

/**
 * Reads a file that was just written and flushed, from the medium itself where the file system allows it (O_DIRECT passes the page cache
 * by: sticks that fake their capacity accept every write and only reading tells). Gives size and sha256.
 */
export async function readBack(file: string, signal?: AbortSignal): Promise<{ sizeBytes: number; sha256: string }> {
  const handle = await openDirect(file);
  if (handle !== undefined) {
    try {
      return await hashFile(handle, await directBuffer(handle, await bufferBytesFor(handle)), signal);
    } catch (error) {
      // Some file systems take the flag and then refuse each read.
      if (systemErrorCode(error) !== 'EINVAL') throw error;
    } finally {
      await handle.close();
    }
  }
  await using plain = await open(file, constants.O_RDONLY);
  return await hashFile(plain, Buffer.allocUnsafe(await bufferBytesFor(plain)), signal);
}

/** Throws `damage` when a file on the medium is not what was written to it. */
export async function checkReadBack(
  file: string,
  written: { readonly sizeBytes: number; readonly sha256: string },
  signal?: AbortSignal,
): Promise<void> {
  const found = await readBack(file, signal);
  if (found.sizeBytes === written.sizeBytes && found.sha256 === written.sha256) return;
  throw new NixferryError('damage', `${file} does not read back as it was written`, {
    hint: 'the medium is faulty or smaller than it claims: take another one and type the same command again',
  });
}

const CHUNK_BYTES = 4 * 1024 * 1024;
/** The largest block of any common device; memory, position and length of a direct read are multiples of it. */
const ALIGNMENT_BYTES = 4096;
/** malloc aligns to at least this. */
const ALIGNMENT_STEP_BYTES = 16;

async function openDirect(file: string): Promise<FileHandle | undefined> {
  // Not every platform has the flag.
  const direct = (constants as Record<string, number>)['O_DIRECT'];
  if (direct === undefined) return undefined;
  try {
    return await open(file, constants.O_RDONLY | direct);
  } catch (error) {
    if (systemErrorCode(error) === 'EINVAL') return undefined;
    throw error;
  }
}

/** Enough for the file, and no more than a chunk. */
async function bufferBytesFor(handle: FileHandle): Promise<number> {
  const { size } = await handle.stat();
  return Math.min(CHUNK_BYTES, (Math.floor(size / ALIGNMENT_BYTES) + 1) * ALIGNMENT_BYTES);
}

// Memory for direct reads must be aligned, and Node does not tell addresses: the kernel does, by refusing what is not.
async function directBuffer(handle: FileHandle, sizeBytes: number): Promise<Buffer> {
  const memory = Buffer.allocUnsafeSlow(sizeBytes + ALIGNMENT_BYTES);
  for (let offset = 0; offset < ALIGNMENT_BYTES; offset += ALIGNMENT_STEP_BYTES) {
    try {
      await handle.read(memory, offset, ALIGNMENT_BYTES, 0);
      return memory.subarray(offset, offset + sizeBytes);
    } catch (error) {
      if (systemErrorCode(error) !== 'EINVAL') throw error;
    }
  }
  return memory.subarray(0, sizeBytes);
}

async function hashFile(
  handle: FileHandle,
  buffer: Buffer,
  signal: AbortSignal | undefined,
): Promise<{ sizeBytes: number; sha256: string }> {
  const sha256 = createHash('sha256');
  let sizeBytes = 0;
  for (;;) {
    signal?.throwIfAborted();
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, sizeBytes);
    if (bytesRead === 0) return { sizeBytes, sha256: sha256.digest('hex') };
    sha256.update(buffer.subarray(0, bytesRead));
    sizeBytes += bytesRead;
  }
}
