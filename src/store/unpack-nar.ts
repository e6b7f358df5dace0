import {
  chmodSync,
  closeSync,
  fchmodSync,
  futimesSync,
  lutimesSync,
  mkdirSync,
  openSync,
  symlinkSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import { explainWriteError } from '../base/errors.ts';
import { NarParser, type NarPath } from '../nix/index.ts';

// src/store is a store folder on a disk: NARs become files in it, as Nix itself would have written them. It starts no Nix, and does
// not care where the NARs come from.

/**
 * Writes the tree that a NAR holds to `target`, which must not exist, with the modes and times that Nix gives to everything in a store: read-only,
 * one second after the epoch. Whoever owns it can still remove it (`removeUnpacked`). Throws `NixFormatError` for anything but a
 * canonical NAR, and `no-space`; what was written by then stays.
 */
export async function unpackNar(nar: AsyncIterable<Uint8Array>, target: string): Promise<void> {
  const writer = new TreeWriter(Buffer.from(target));
  const parser = new NarParser({
    directory: ({ path }) => writer.openDirectory(path),
    endDirectory: () => writer.closeDirectory(),
    regular: ({ path, executable }) => writer.openFile(path, executable),
    contents: (chunk) => writer.write(chunk),
    endRegular: () => writer.closeFile(),
    symlink: ({ path, target: text }) => writer.link(path, text),
  });
  try {
    for await (const chunk of nar) parser.push(chunk);
    parser.end();
  } catch (error) {
    throw explainWriteError(error, target);
  } finally {
    writer.abandon();
  }
}

const STORE_TIME_SECONDS = 1;
const SLASH = Buffer.from('/');

/** The parser is synchronous, and what it brings goes to the page cache: passing each file to a thread would take longer. */
class TreeWriter {
  readonly #target: Buffer;
  readonly #directories: Buffer[] = [];
  #file: number | undefined;
  #executable = false;

  constructor(target: Buffer) {
    this.#target = target;
  }

  openDirectory(path: NarPath): void {
    const folder = this.#at(path);
    mkdirSync(folder, { mode: 0o755 });
    this.#directories.push(folder);
  }

  closeDirectory(): void {
    const folder = this.#directories.pop();
    if (folder === undefined) throw new Error('the parser ended a directory that it had not begun');
    chmodSync(folder, 0o555);
    utimesSync(folder, STORE_TIME_SECONDS, STORE_TIME_SECONDS);
  }

  openFile(path: NarPath, executable: boolean): void {
    // Never through a link, never over something.
    this.#file = openSync(this.#at(path), 'wx', 0o600);
    this.#executable = executable;
  }

  write(chunk: Uint8Array): void {
    for (let done = 0; done < chunk.length; ) done += writeSync(this.#opened(), chunk, done);
  }

  closeFile(): void {
    const file = this.#opened();
    fchmodSync(file, this.#executable ? 0o555 : 0o444);
    futimesSync(file, STORE_TIME_SECONDS, STORE_TIME_SECONDS);
    this.abandon();
  }

  link(path: NarPath, text: Buffer): void {
    const link = this.#at(path);
    symlinkSync(text, link);
    lutimesSync(link, STORE_TIME_SECONDS, STORE_TIME_SECONDS);
  }

  abandon(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  #opened(): number {
    if (this.#file === undefined) throw new Error('the parser brought contents without a file');
    return this.#file;
  }

  #at(path: NarPath): Buffer {
    return Buffer.concat([this.#target, ...path.flatMap((name) => [SLASH, name])]);
  }
}
