import type { Logger } from 'pino';

/** A log that says each thing once in a while, not once for each client that runs into it. */
export class OnceLog {
  readonly #logger: Logger;
  readonly #saidMs = new Map<string, number>();
  readonly #now: () => number;

  constructor(logger: Logger, now: () => number = () => performance.now()) {
    this.#logger = logger;
    this.#now = now;
  }

  info(key: string, fields: Readonly<Record<string, unknown>>, message: string): void {
    if (this.#mayLog(`${message} ${key}`)) this.#logger.info(fields, message);
  }

  warn(key: string, fields: Readonly<Record<string, unknown>>, message: string): void {
    if (this.#mayLog(`${message} ${key}`)) this.#logger.warn(fields, message);
  }

  error(key: string, fields: Readonly<Record<string, unknown>>, message: string): void {
    if (this.#mayLog(`${message} ${key}`)) this.#logger.error(fields, message);
  }

  #mayLog(what: string): boolean {
    const nowMs = this.#now();
    const before = this.#saidMs.get(what);
    if (before !== undefined && nowMs - before < AGAIN_MS) return false;
    if (this.#saidMs.size >= REMEMBERED) this.#saidMs.clear();
    this.#saidMs.set(what, nowMs);
    return true;
  }
}

const AGAIN_MS = 10 * 60_000;
const REMEMBERED = 2000;
