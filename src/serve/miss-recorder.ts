import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { LIMITS } from '../base/limits.ts';
import { type Miss, type MissKind, type MissTable, openMisses } from '../mirror/misses.ts';
import { isRepositoryPlace } from '../mirror/repository-address.ts';
import { CHANNEL_NAME } from '../mirror/roots.ts';
import { isHashPart } from '../nix/store-path.ts';
import { parseHashedAddress } from './hashed-address.ts';
import type { LimitedLog } from './limited-log.ts';

/**
 * Notes what clients asked for in vain, for want lists: in memory first, each once with a count, and every few seconds in the mirror. Clients ask
 * for much that nobody can have, so this must cost next to nothing, and never fail a request.
 */
export class MissRecorder implements AsyncDisposable {
  readonly #file: string;
  readonly #log: LimitedLog;
  readonly #counts = new Map<string, Miss>();
  #table: MissTable | undefined;
  #isBroken: boolean;
  /** What cannot be written stays in memory, where its number is bounded. */
  #isFailing = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(file: string, log: LimitedLog) {
    this.#file = file;
    this.#log = log;
    // A plain binary cache is nobody's to leave files in.
    this.#isBroken = !existsSync(dirname(file));
  }

  /** @param address as the client wrote it, from the first slash on. */
  note(address: string): void {
    if (this.#isBroken) return;
    const miss = recogniseMiss(address);
    if (miss === undefined) return;
    const key = `${miss.kind} ${miss.name}`;
    const known = this.#counts.get(key);
    if (known === undefined && this.#counts.size >= LIMITS.missesInMemory) return;
    this.#counts.set(key, { ...miss, count: (known?.count ?? 0) + 1 });
    this.#timer ??= setTimeout(() => this.flush(), LIMITS.missFlushMs).unref();
  }

  /** Writes down what was noted. A mirror that cannot be written to is said so once, served all the same, and tried again. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#counts.size === 0 || this.#isBroken) return;
    try {
      this.#table ??= openMisses(this.#file);
      this.#table.add([...this.#counts.values()]);
      this.#isFailing = false;
    } catch (error) {
      if (!this.#isFailing)
        this.#log.error({ file: this.#file, err: error }, 'what clients ask for in vain cannot be noted');
      this.#isFailing = true;
      return;
    }
    this.#counts.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.flush();
    this.#table?.close();
    this.#table = undefined;
    this.#isBroken = true;
  }
}

/** What is worth asking for elsewhere: paths, sources by hash, flakes and channels by name, repositories by host and path. */
export function recogniseMiss(address: string): { readonly kind: MissKind; readonly name: string } | undefined {
  const path = address.replace(/[?#].*$/s, '');
  const [, hashPart] = /^\/([0-9a-z]{32})\.narinfo$/.exec(path) ?? [];
  if (hashPart !== undefined) return isHashPart(hashPart) ? { kind: 'narinfo', name: hashPart } : undefined;
  if (path.startsWith('/hashed/')) {
    const hash = parseHashedAddress(address.slice('/hashed/'.length));
    return hash === undefined ? undefined : { kind: 'source', name: hash };
  }
  const [, repository = ''] = /^\/git\/([A-Za-z0-9_@.:/+-]{3,200})\/info\/refs$/.exec(path) ?? [];
  if (repository !== '') {
    const name = repository.replace(/\.git$/, '');
    return isRepositoryPlace(`${name}.git`) ? { kind: 'repository', name } : undefined;
  }
  const [, flake] = /^\/flakes\/([A-Za-z0-9_@./+-]{1,200})\.tar\.gz$/.exec(path) ?? [];
  if (flake !== undefined) return { kind: 'flake', name: flake };
  const [, channel = ''] = /^\/channels\/([^/]+)(?:\/|$)/.exec(path) ?? [];
  return CHANNEL_NAME.test(channel) ? { kind: 'channel', name: channel } : undefined;
}
