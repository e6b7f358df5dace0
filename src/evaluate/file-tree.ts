import { closeSync, constants, lstatSync, openSync, readdirSync, readlinkSync, readSync, type Stats } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { NixferryError } from '../base/errors.ts';
import type { NarDirectoryEntry, NarNode, NarRegularNode } from '../nix/nar-writer.ts';

/**
 * A file, symlink or directory tree on disk as a tree for `writeNar`, read while it is written: in memory are the names of the directories that
 * are open and a few small files, and few files are open at a time. As in Nix, a file is executable when its owner may execute it, and nothing else of
 * its mode and times counts. Throws `bad-root` for sockets, pipes and devices; system errors come through as they are.
 */
export async function narNodeFromFileSystem(path: string | Buffer): Promise<NarNode> {
  return readNode(Buffer.from(path));
}

// Names, links and small files are read synchronously: each takes microseconds, and passing it to a thread takes ten times as long.
const SMALL_FILE_BYTES = 64 * 1024;
const PIECE_BYTES = 256 * 1024;
// Should a file have been replaced since it was looked at, then neither follow a link nor wait for a pipe.
const OPEN_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const SLASH = Buffer.from('/');

function readNode(path: Buffer): NarNode {
  const stats = lstatSync(path);
  if (stats.isDirectory()) return { type: 'directory', entries: () => readEntries(path) };
  if (stats.isSymbolicLink()) return { type: 'symlink', target: readlinkSync(path, { encoding: 'buffer' }) };
  if (stats.isFile()) return readRegular(path, stats);
  throw new NixferryError('bad-root', `${path} is a ${specialKind(stats)}, which no store path can hold`, {
    hint: 'remove it, or leave out the path that it lies in',
  });
}

function* readEntries(directory: Buffer): Generator<NarDirectoryEntry, void, undefined> {
  const names = readdirSync(directory, { encoding: 'buffer' });
  names.sort((one, other) => Buffer.compare(one, other));
  for (const name of names) yield [name, readNode(Buffer.concat([directory, SLASH, name]))];
}

function readRegular(path: Buffer, stats: Stats): NarRegularNode {
  const executable = (stats.mode & constants.S_IXUSR) !== 0;
  const { size: sizeBytes } = stats;
  const contents = () => (sizeBytes > SMALL_FILE_BYTES ? readPieces(path) : [readSmall(path, sizeBytes)]);
  return { type: 'regular', executable, sizeBytes, contents };
}

function readSmall(path: Buffer, sizeBytes: number): Buffer {
  const file = openSync(path, OPEN_FLAGS);
  try {
    // One byte more than there should be: when the file has grown, the writer must notice.
    const buffer = Buffer.allocUnsafe(sizeBytes + 1);
    return buffer.subarray(0, readSync(file, buffer, 0, buffer.length, null));
  } finally {
    closeSync(file);
  }
}

async function* readPieces(path: Buffer): AsyncGenerator<Buffer, void, undefined> {
  const handle = await open(path, OPEN_FLAGS);
  try {
    yield* readHandle(handle);
  } finally {
    await handle.close();
  }
}

async function* readHandle(handle: FileHandle): AsyncGenerator<Buffer, void, undefined> {
  for (;;) {
    const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(PIECE_BYTES), 0, PIECE_BYTES, null);
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
  }
}

function specialKind(stats: Stats): string {
  if (stats.isSocket()) return 'socket';
  if (stats.isFIFO()) return 'pipe';
  return 'device';
}
