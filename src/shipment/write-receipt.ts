import { open, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { NixferryError, systemErrorCode } from '../base/errors.ts';
import { writeFileAtomic } from '../base/files.ts';
import { receiptFileName } from './read-receipt.ts';
import { isReceipt, type Receipt } from './receipt.ts';

/**
 * Writes a receipt to a file, or into a folder under a name of its own, and gives the file. An older receipt there is replaced; anything else is
 * `target-occupied`.
 */
export async function writeReceipt(receipt: Receipt, to: string): Promise<string> {
  const { site, counter } = receipt.header;
  const isFolder = (await statIfExists(resolve(to)))?.isDirectory() === true || to.endsWith('/');
  const file = isFolder ? join(resolve(to), receiptFileName(site, counter)) : resolve(to);
  if ((await statIfExists(file)) !== undefined && !(await isReceiptFile(file))) {
    throw new NixferryError('target-occupied', `${file} already holds something else; nothing was overwritten`, {
      hint: 'name another file or a folder with --to',
    });
  }
  try {
    await writeFileAtomic(file, receipt.bytes);
  } catch (error) {
    const code = systemErrorCode(error);
    if (code !== 'ENOENT' && code !== 'ENOTDIR' && code !== 'EROFS' && code !== 'EACCES') throw error;
    throw new NixferryError('usage', `${file} cannot be written (${code})`, {
      hint: 'mount the medium that is to go back, writable, then name its folder with --to DIR',
      cause: error,
    });
  }
  return file;
}

async function isReceiptFile(file: string): Promise<boolean> {
  await using handle = await open(file);
  const start = Buffer.alloc(64);
  const { bytesRead } = await handle.read(start, 0, start.length, 0);
  return isReceipt(start.subarray(0, bytesRead));
}

async function statIfExists(path: string) {
  try {
    return await stat(path);
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw error;
  }
}
