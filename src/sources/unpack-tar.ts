import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { extract, type Header } from 'tar-stream';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { SpooledTree } from './spooled-tree.ts';

/** Puts what a tar archive holds into a tree. Throws `damage` for what is none, or holds more than files, folders and links. */
export async function unpackTar(archive: AsyncIterable<Uint8Array>, tree: SpooledTree): Promise<void> {
  const entries = extract(OPTIONS);
  const failures: unknown[] = [];
  const feed = pipeline(Readable.from(archive), entries).catch((error: unknown) => void failures.push(error));
  try {
    for await (const entry of entries) {
      await addEntry(entry.header, entry as AsyncIterable<Uint8Array>, tree);
      entry.resume();
    }
  } catch (error) {
    entries.destroy();
    await feed;
    throw failures.find((failure) => failure instanceof NixferryError) ?? explain(error);
  }
  await feed;
  if (failures.length > 0) throw explain(failures[0]);
}

async function addEntry(header: Header, contents: AsyncIterable<Uint8Array>, tree: SpooledTree): Promise<void> {
  const extended = (header.pax ?? {}) as Readonly<Record<string, string | undefined>>;
  const name = bytesOf(header.name, extended['path']);
  const target = bytesOf(header.linkname ?? '', extended['linkpath']);
  switch (header.type) {
    case 'file':
    case 'contiguous-file':
      return tree.addFile(name, (header.mode & OWNER_EXECUTES) !== 0, contents);
    case 'directory':
      return tree.addDirectory(name);
    case 'symlink':
      return tree.addSymlink(name, target);
    case 'link':
      return tree.addHardLink(name, target);
    default:
      throw new NixferryError(
        'damage',
        `the archive cannot be unpacked: it holds a ${header.type ?? 'thing of no known kind'}`,
      );
  }
}

// One character a byte: what the names mean is nobody's business here. (The type declarations of the library leave these options out.)
const OPTIONS = { highWaterMark: LIMITS.fileChunkBytes, filenameEncoding: 'latin1', allowUnknownFormat: true };

const OWNER_EXECUTES = 0o100;

/** A name from an extended header has been read as UTF-8, every other one byte by byte. */
function bytesOf(text: string, extended: string | undefined): Buffer {
  return Buffer.from(text, extended === undefined ? 'latin1' : 'utf8');
}

function explain(error: unknown): unknown {
  if (error instanceof NixferryError || !(error instanceof Error)) return error;
  if (error.name === 'AbortError') return error;
  return new NixferryError('damage', `the archive cannot be unpacked: ${error.message}`, { cause: error });
}
