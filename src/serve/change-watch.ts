import { LIMITS } from '../base/limits.ts';

export interface ChangeWatchOptions {
  /** How long an answer may be reused; thus how late a change is seen. */
  readonly checkMs?: number;
  /** How long after a change the version keeps moving on. */
  readonly settleMs?: number;
  readonly now?: () => number;
}

/**
 * Tells by one number whether what was read from the mirror may have changed since: same version, nothing was added, replaced
 * or removed. One look at the folders' times stands for all narinfos, so that a hit costs no system call.
 */
export class ChangeWatch {
  readonly #readToken: () => Promise<string | undefined>;
  readonly #checkMs: number;
  readonly #settleMs: number;
  readonly #now: () => number;
  #token: string | undefined;
  #version = 0;
  #changedMs = Number.NEGATIVE_INFINITY;
  #checkedMs = Number.NEGATIVE_INFINITY;
  #checking: Promise<number> | undefined;

  /** `readToken` gives a text that differs after each change, or undefined when that cannot be told. */
  constructor(readToken: () => Promise<string | undefined>, options: ChangeWatchOptions = {}) {
    this.#readToken = readToken;
    this.#checkMs = options.checkMs ?? LIMITS.servedFolderCheckMs;
    this.#settleMs = options.settleMs ?? LIMITS.servedFolderSettleMs;
    this.#now = options.now ?? (() => performance.now());
  }

  /** The version now, at most `checkMs` old. A number when it is known, so that the common case need not wait. */
  version(): number | Promise<number> {
    if (this.#now() - this.#checkedMs < this.#checkMs) return this.#version;
    this.#checking ??= this.#check().finally(() => {
      this.#checking = undefined;
    });
    return this.#checking;
  }

  async #check(): Promise<number> {
    const startedMs = this.#now();
    const token = await this.#readToken();
    if (token === undefined || token !== this.#token) this.#changedMs = startedMs;
    this.#token = token;
    // Two changes within one tick of the file system's clock leave the same time behind (FAT counts in steps of 2 s): after a
    // change everything is looked at anew until no such tick can be running any more.
    if (startedMs - this.#changedMs <= this.#settleMs) this.#version++;
    this.#checkedMs = startedMs;
    return this.#version;
  }
}
