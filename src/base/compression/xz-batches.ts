import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, type Hash } from 'node:crypto';
import { availableParallelism } from 'node:os';
import type { ProgramStart } from '../carried-tools.ts';
import { LIMITS } from '../limits.ts';
import { releaseMemory } from '../release-memory.ts';
import { decompressorArguments } from './decompress-program.ts';

/**
 * Hashes what .xz files decode to by few `xz` programs, each of which decodes many files one after the other: for files of some hundred
 * kilobytes, of which closures mostly consist, starting a program for each costs as much as the decoding. The files lie on the disk, so that
 * nothing has to be piped into the program. What the program gives is cut by the sizes that the files themselves announce.
 *
 * It can only say yes: whether a file is damaged, and where, is for who decodes it alone.
 */
export class XzBatches {
  readonly #programs: number;
  readonly #waiting: Item[] = [];
  #running = 0;

  /** @param programs how many run at once. */
  constructor(programs: number = availableParallelism()) {
    this.#programs = programs;
  }

  /**
   * The SHA-256 of what the file decodes to; undefined when it, or another one in the same batch, could not be decoded.
   * @param outputBytes what `readXzIndex` says of the file. No good file decodes to less, and a batch counts only if all of it together is as large
   *   as announced: so no file can pass with bytes of its neighbour.
   */
  hash(program: ProgramStart, file: string, outputBytes: number, signal?: AbortSignal): Promise<Buffer | undefined> {
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<Buffer | undefined>();
    const item: Item = { program, file, outputBytes, signal, resolve, reject };
    this.#waiting.push(item);
    this.#startNext();
    return promise;
  }

  #startNext(): void {
    while (this.#running < this.#programs && this.#waiting.length > 0) {
      const batch = this.#takeBatch();
      this.#running += 1;
      void decodeBatch(batch).finally(() => {
        this.#running -= 1;
        this.#startNext();
      });
    }
  }

  /** A fair share of what waits: the rest is for programs that become free meanwhile. */
  #takeBatch(): Item[] {
    const share = Math.ceil(this.#waiting.length / this.#programs);
    const count = Math.min(share, LIMITS.xzBatchFiles);
    return this.#waiting.splice(0, count);
  }
}

interface Item {
  readonly program: ProgramStart;
  readonly file: string;
  readonly outputBytes: number;
  readonly signal: AbortSignal | undefined;
  readonly resolve: (sha256: Buffer | undefined) => void;
  readonly reject: (reason: unknown) => void;
}

/** Settles every item; never rejects. */
async function decodeBatch(batch: readonly Item[]): Promise<void> {
  const items = batch.filter((item) => !rejectIfAborted(item));
  const [first] = items;
  if (first === undefined) return;
  const { file, args } = first.program;
  const child = spawn(file, [...args, ...decompressorArguments('xz'), '--', ...items.map((item) => item.file)], {
    stdio: ['ignore', 'pipe', 'ignore'],
    // XZ_OPT would change what the program does.
    env: { LC_ALL: 'C' },
  });
  const stop = killWhenAllAborted(child, items);
  const cutter = new Cutter(items);
  child.stdout.on('data', (chunk: Buffer) => {
    cutter.push(chunk);
    releaseMemory(chunk);
    if (cutter.overflowed) child.kill('SIGKILL');
  });
  const isGood = await new Promise<boolean>((resolve) => {
    child.on('error', () => resolve(false));
    child.on('close', (code) => resolve(code === 0));
  });
  stop();
  const digests = isGood ? cutter.finish() : undefined;
  for (const [index, item] of items.entries()) if (!rejectIfAborted(item)) item.resolve(digests?.[index]);
}

function rejectIfAborted({ signal, reject }: Item): boolean {
  if (signal?.aborted !== true) return false;
  reject(signal.reason);
  return true;
}

/** Nobody waits for the rest then. Returns what ends the watch. */
function killWhenAllAborted(child: ChildProcess, items: readonly Item[]): () => void {
  const signals = new Set(items.map(({ signal }) => signal));
  const look = (): void => {
    if (items.every(({ signal }) => signal?.aborted === true)) child.kill('SIGKILL');
  };
  for (const signal of signals) signal?.addEventListener('abort', look, { once: true });
  return () => {
    for (const signal of signals) signal?.removeEventListener('abort', look);
  };
}

/** Cuts one stream into pieces of known sizes, and hashes each. */
class Cutter {
  readonly #sizes: readonly number[];
  readonly #digests: Buffer[] = [];
  #hash: Hash = createHash('sha256');
  #leftBytes = 0;
  overflowed = false;

  constructor(items: readonly { readonly outputBytes: number }[]) {
    this.#sizes = items.map(({ outputBytes }) => outputBytes);
    this.#leftBytes = this.#sizes[0] ?? 0;
    this.#endPieces();
  }

  push(chunk: Buffer): void {
    for (let start = 0; start < chunk.length; ) {
      if (this.#digests.length === this.#sizes.length) {
        this.overflowed = true;
        return;
      }
      const end = Math.min(chunk.length, start + this.#leftBytes);
      this.#hash.update(chunk.subarray(start, end));
      this.#leftBytes -= end - start;
      start = end;
      this.#endPieces();
    }
  }

  /** One digest a piece; undefined when there was less or more than announced. */
  finish(): readonly Buffer[] | undefined {
    return !this.overflowed && this.#digests.length === this.#sizes.length ? this.#digests : undefined;
  }

  #endPieces(): void {
    while (this.#leftBytes === 0 && this.#digests.length < this.#sizes.length) {
      this.#digests.push(this.#hash.digest());
      this.#hash = createHash('sha256');
      this.#leftBytes = this.#sizes[this.#digests.length] ?? 0;
    }
  }
}
