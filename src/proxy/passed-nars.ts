import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { freeBytes } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';

/** A NAR that is verified and not kept. */
export interface PassedNar {
  readonly narFile: string;
  readonly sizeBytes: number;
}

/**
 * NARs that are passed on and not kept, since the mirror's disk has no room: in a folder for temporary files, each for as long as clients who were told of
 * it may need to open it. What they have open they read to its end.
 */
export class PassedNars implements Disposable {
  /** Where they are taken in; nobody else's. */
  readonly folder: string;
  readonly #passed = new Map<string, PassedNar & { readonly timer: NodeJS.Timeout }>();
  #sizeBytes = 0;
  #made = 0;

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** Nothing of what an earlier process left there stays. */
  static async open(folder: string): Promise<PassedNars> {
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { recursive: true, mode: 0o700 });
    return new PassedNars(folder);
  }

  /** Whether there is room for one of at most so many bytes. */
  async hasRoom(sizeBytes: number): Promise<boolean> {
    if (this.#sizeBytes + sizeBytes > LIMITS.proxyPassedBytes) return false;
    return (await freeBytes(this.folder)) >= sizeBytes + LIMITS.proxyPassedSpareBytes;
  }

  /** Takes a file of this folder over that has just been verified. */
  async add(narName: string, verifiedFile: string, sizeBytes: number): Promise<PassedNar> {
    // Under a name that no later transfer takes.
    const narFile = join(this.folder, `passed-${++this.#made}`);
    await rename(verifiedFile, narFile);
    this.#drop(narName);
    const timer = setTimeout(() => this.#drop(narName), LIMITS.proxyPassedMs).unref();
    this.#passed.set(narName, { narFile, sizeBytes, timer });
    this.#sizeBytes += sizeBytes;
    return { narFile, sizeBytes };
  }

  /** By the name that it would have in the mirror. */
  file(narName: string): PassedNar | undefined {
    return this.#passed.get(narName);
  }

  [Symbol.dispose](): void {
    for (const narName of this.#passed.keys()) this.#drop(narName);
  }

  #drop(narName: string): void {
    const passed = this.#passed.get(narName);
    if (passed === undefined) return;
    clearTimeout(passed.timer);
    this.#passed.delete(narName);
    this.#sizeBytes -= passed.sizeBytes;
    void rm(passed.narFile, { force: true }).catch(() => {});
  }
}
