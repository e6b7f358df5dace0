import { type FileHandle, open, rm } from 'node:fs/promises';
import { explainWriteError, NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { NarNode } from '../nix/index.ts';

/** A name with one character for each byte: sorting by characters is sorting by bytes, as in a NAR. */
type Name = string;

interface SpooledFile {
  readonly type: 'file';
  readonly executable: boolean;
  readonly offset: number;
  readonly sizeBytes: number;
}

interface SpooledSymlink {
  readonly type: 'symlink';
  readonly target: Buffer;
}

interface SpooledDirectory {
  readonly type: 'directory';
  readonly entries: Map<Name, SpooledNode>;
}

type SpooledNode = SpooledFile | SpooledSymlink | SpooledDirectory;

/**
 * An archive unpacked without touching the file system by names that somebody else chose: the names are in memory, and the contents of all files
 * lie one after the other in a single file. What comes later replaces what came earlier, as when it is unpacked to disk.
 */
export class SpooledTree implements AsyncDisposable {
  readonly #path: string;
  readonly #handle: FileHandle;
  readonly #root: SpooledDirectory = { type: 'directory', entries: new Map() };
  #sizeBytes = 0;
  #entries = 0;

  /** @param path of a file that does not exist yet, and goes again when this is disposed of. */
  static async open(path: string): Promise<SpooledTree> {
    try {
      return new SpooledTree(path, await open(path, 'wx+'));
    } catch (error) {
      throw explainWriteError(error, path);
    }
  }

  private constructor(path: string, handle: FileHandle) {
    this.#path = path;
    this.#handle = handle;
  }

  addDirectory(name: Uint8Array): void {
    this.#count();
    this.#folder(splitName(name));
  }

  addSymlink(name: Uint8Array, target: Uint8Array): void {
    this.#put(name, { type: 'symlink', target: Buffer.from(target) });
  }

  async addFile(name: Uint8Array, executable: boolean, contents: AsyncIterable<Uint8Array>): Promise<void> {
    const offset = this.#sizeBytes;
    for await (const chunk of contents) await this.#write(chunk);
    this.#put(name, { type: 'file', executable, offset, sizeBytes: this.#sizeBytes - offset });
  }

  /** The same contents under another name. */
  addHardLink(name: Uint8Array, existing: Uint8Array): void {
    const node = this.#find(splitName(existing));
    if (node?.type !== 'file' && node?.type !== 'symlink') throw malformed('a hard link leads nowhere');
    this.#put(name, node);
  }

  /** All of it. */
  whole(): NarNode {
    return this.#narNode(this.#root);
  }

  /** What is in its one folder, where it has one and nothing beside it. */
  inner(): NarNode | undefined {
    const [only, ...others] = this.#root.entries.values();
    return only?.type === 'directory' && others.length === 0 ? this.#narNode(only) : undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close();
    await rm(this.#path, { force: true });
  }

  #put(name: Uint8Array, node: SpooledNode): void {
    this.#count();
    const steps = splitName(name);
    const last = steps.pop();
    if (last === undefined) throw malformed('an entry has no name');
    const folder = this.#folder(steps);
    if (folder.entries.get(last)?.type === 'directory') throw malformed('a folder is replaced by a file');
    folder.entries.set(last, node);
  }

  #folder(steps: readonly Name[]): SpooledDirectory {
    let folder = this.#root;
    for (const step of steps) {
      let next = folder.entries.get(step);
      if (next === undefined) {
        next = { type: 'directory', entries: new Map() };
        folder.entries.set(step, next);
      }
      // Going through a link is what an archive does to get out of its folder.
      if (next.type !== 'directory') throw malformed('a file or link is used as a folder');
      folder = next;
    }
    return folder;
  }

  #find(steps: readonly Name[]): SpooledNode | undefined {
    let node: SpooledNode | undefined = this.#root;
    for (const step of steps) node = node?.type === 'directory' ? node.entries.get(step) : undefined;
    return node;
  }

  #count(): void {
    this.#entries += 1;
    if (this.#entries > LIMITS.unpackedSourceEntries) throw malformed('it holds too many files');
  }

  async #write(chunk: Uint8Array): Promise<void> {
    if (this.#sizeBytes + chunk.length > LIMITS.unpackedSourceBytes) throw malformed('it is too large when unpacked');
    try {
      for (let done = 0; done < chunk.length; ) {
        const { bytesWritten } = await this.#handle.write(chunk, done, chunk.length - done, this.#sizeBytes);
        done += bytesWritten;
        this.#sizeBytes += bytesWritten;
      }
    } catch (error) {
      throw explainWriteError(error, this.#path);
    }
  }

  #narNode(node: SpooledNode): NarNode {
    if (node.type === 'symlink') return node;
    if (node.type === 'directory') return { type: 'directory', entries: () => this.#narEntries(node) };
    const { executable, sizeBytes, offset } = node;
    return { type: 'regular', executable, sizeBytes, contents: () => this.#read(offset, sizeBytes) };
  }

  *#narEntries({ entries }: SpooledDirectory): Generator<readonly [Buffer, NarNode], void, undefined> {
    for (const name of [...entries.keys()].sort()) {
      const node = entries.get(name);
      if (node !== undefined) yield [Buffer.from(name, 'latin1'), this.#narNode(node)];
    }
  }

  async *#read(offset: number, sizeBytes: number): AsyncGenerator<Buffer, void, undefined> {
    for (let done = 0; done < sizeBytes; ) {
      const wanted = Math.min(sizeBytes - done, LIMITS.fileChunkBytes);
      const { bytesRead, buffer } = await this.#handle.read(Buffer.allocUnsafe(wanted), 0, wanted, offset + done);
      if (bytesRead === 0) return;
      done += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  }
}

/** The steps of a name, as an unpacker takes them: it leaves out `.` and leading slashes, and refuses to go up. */
function splitName(name: Uint8Array): Name[] {
  const text = Buffer.from(name.buffer, name.byteOffset, name.length).toString('latin1');
  const steps = text.split('/').filter((step) => step !== '' && step !== '.');
  if (steps.includes('..') || text.includes('\0')) throw malformed('a name leads out of it');
  return steps;
}

function malformed(problem: string): NixferryError {
  return new NixferryError('damage', `the archive cannot be unpacked: ${problem}`);
}
