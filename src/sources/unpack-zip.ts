import { type Entry, openPromise, type ZipFile } from 'yauzl';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { SpooledTree } from './spooled-tree.ts';

/** Puts what a zip archive holds into a tree. Throws `damage` for what is none, or cannot be unpacked here. */
export async function unpackZip(file: string, tree: SpooledTree, signal: AbortSignal): Promise<void> {
  try {
    const archive = await openPromise(file, { decodeStrings: true, validateEntrySizes: true, autoClose: false });
    try {
      for await (const entry of archive.eachEntry()) {
        signal.throwIfAborted();
        await addEntry(archive, entry, tree);
      }
    } finally {
      archive.close();
    }
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof NixferryError || !(error instanceof Error)) throw error;
    throw new NixferryError('damage', `the archive cannot be unpacked: ${error.message}`, { cause: error });
  }
}

async function addEntry(archive: ZipFile, entry: Entry, tree: SpooledTree): Promise<void> {
  const name = Buffer.from(entry.fileName, 'utf8');
  // The upper half are the permissions of Unix, if it was packed there; elsewhere nothing is executable.
  const mode = entry.versionMadeBy >> 8 === MADE_ON_UNIX ? entry.externalFileAttributes >>> 16 : 0;
  if (entry.fileName.endsWith('/')) {
    tree.addDirectory(name);
    return;
  }
  const contents = await archive.openReadStreamPromise(entry);
  if ((mode & FILE_TYPE) === SYMLINK) tree.addSymlink(name, await readTarget(contents));
  else await tree.addFile(name, (mode & OWNER_EXECUTES) !== 0, contents);
}

async function readTarget(contents: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of contents) {
    sizeBytes += chunk.length;
    if (sizeBytes > LIMITS.linkTargetBytes) throw new NixferryError('damage', 'a link in the archive leads too far');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

const MADE_ON_UNIX = 3;
const FILE_TYPE = 0o170000;
const SYMLINK = 0o120000;
const OWNER_EXECUTES = 0o100;
