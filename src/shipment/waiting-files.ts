import { hash } from 'node:crypto';
import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { explainWriteError } from '../base/errors.ts';
import { readFileIfExists } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import type { Mirror } from '../mirror/mirror.ts';

/** What names one small file of a shipment. */
export interface FileKey {
  readonly name: string;
  /** Of its contents, in hex. */
  readonly sha256: string;
}

/**
 * Small files that came before the paths they belong to, as those of a later disc do. They wait in the mirror's partial folder, as NARs do there, and
 * so need no volume again; they are checked when they are read, and losing one costs no more than that.
 */
export class WaitingFiles {
  readonly #folder: string;
  readonly #names: Set<string>;
  /** Those of the shipment that is being imported. */
  readonly #own = new Set<string>();

  constructor(folder: string, names: Iterable<string>) {
    this.#folder = folder;
    this.#names = new Set(names);
  }

  /** Undefined when it is not there, or not what it was. */
  async read(key: FileKey): Promise<Buffer | undefined> {
    const name = waitingName(key);
    if (!this.#names.has(name)) return undefined;
    const bytes = await readFileIfExists(join(this.#folder, name), LIMITS.shippedFileBytes);
    if (bytes === undefined || hash('sha256', bytes) !== key.sha256) return undefined;
    this.#own.add(name);
    return bytes;
  }

  async keep(key: FileKey, bytes: Buffer): Promise<void> {
    const name = waitingName(key);
    const file = join(this.#folder, name);
    try {
      await writeFile(file, bytes);
    } catch (error) {
      throw explainWriteError(error, file);
    }
    this.#names.add(name);
    this.#own.add(name);
  }

  async drop(key: FileKey): Promise<void> {
    await this.#remove(waitingName(key));
  }

  /** To be called when all paths of the shipment are there: what still waits then is for a path that no shipment like this brings. */
  async dropRest(): Promise<void> {
    for (const name of this.#own) await this.#remove(name);
  }

  async #remove(name: string): Promise<void> {
    this.#own.delete(name);
    if (this.#names.delete(name)) await rm(join(this.#folder, name), { force: true });
  }
}

export async function openWaitingFiles({ layout }: Mirror): Promise<WaitingFiles> {
  const names = await readdir(layout.partialFolder);
  return new WaitingFiles(
    layout.partialFolder,
    names.filter((name) => name.startsWith(PREFIX)),
  );
}

const PREFIX = 'small-';

// Many files have the same contents: each waits for a path of its own.
function waitingName({ name, sha256 }: FileKey): string {
  return `${PREFIX}${hash('sha256', `${name}\n${sha256}`)}`;
}
