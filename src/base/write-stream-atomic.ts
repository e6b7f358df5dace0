import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { explainWriteError } from './errors.ts';
import { makeTempName, syncDirectory } from './files.ts';
import { LIMITS } from './limits.ts';

/**
 * Replaces `path` by a file that holds all pieces of a text, written as they come: after a crash, an error or an abort there is either the old
 * file or the whole new one. Errors of `pieces` come through; `no-space` when the disk is full. Gives the size in bytes.
 */
export async function writeStreamAtomic(
  path: string,
  pieces: AsyncIterable<string> | Iterable<string>,
  signal?: AbortSignal,
): Promise<number> {
  const tempPath = makeTempName(path);
  let sizeBytes = 0;
  try {
    await using handle = await open(tempPath, 'wx', 0o644);
    for await (const bytes of gathered(pieces)) {
      signal?.throwIfAborted();
      await handle.writeFile(bytes);
      sizeBytes += bytes.length;
    }
    await handle.sync();
    await rename(tempPath, path);
  } catch (error) {
    await rm(tempPath, { force: true });
    throw explainWriteError(error, path);
  }
  await syncDirectory(dirname(path));
  return sizeBytes;
}

async function* gathered(pieces: AsyncIterable<string> | Iterable<string>): AsyncGenerator<Buffer> {
  let text = '';
  for await (const piece of pieces) {
    text += piece;
    if (text.length < LIMITS.fileChunkBytes) continue;
    yield Buffer.from(text);
    text = '';
  }
  if (text !== '') yield Buffer.from(text);
}
