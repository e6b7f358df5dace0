import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import type { Readable, Writable } from 'node:stream';
import type { ProgramStart } from '../carried-tools.ts';
import { LIMITS } from '../limits.ts';
import { releaseMemory } from '../release-memory.ts';
import { decompressorArguments } from './decompress-program.ts';
import { storeAsXz } from './xz-stored.ts';

/**
 * Hashes what .xz files decode to, each while it comes, by `xz` programs that stay when a file ends and take the next one: starting a program for
 * each file costs as much as decoding a small one, and more the larger the process is that starts it.
 *
 * Between two files such a program gets two streams of our own with bytes that nobody else knows. When those of the second come out, all of the file
 * before has come out and was found good. It can only say yes: whatever else comes is for who decodes the file alone, to say what is wrong with it.
 */
export class XzDecoders {
  readonly #idle: RunningXz[] = [];
  readonly #stallMs: number;

  /** @param stallMs how long a program may be silent that has been sent all of a file, which is no failure of the file. */
  constructor(stallMs: number = LIMITS.xzStallMs) {
    this.#stallMs = stallMs;
  }

  /** @param outputBytes what the file should decode to. Throws the signal's reason. */
  begin(program: ProgramStart, outputBytes: number, signal?: AbortSignal): XzDecoding {
    signal?.throwIfAborted();
    const xz = this.#takeIdle(program) ?? new RunningXz(program);
    return new XzDecoding(xz, { outputBytes, signal, stallMs: this.#stallMs, giveBack: () => this.#keep(xz) });
  }

  #takeIdle({ file }: ProgramStart): RunningXz | undefined {
    for (let xz = this.#idle.pop(); xz !== undefined; xz = this.#idle.pop()) {
      xz.stopIdling();
      if (xz.isUsable && xz.file === file) return xz;
      xz.kill();
    }
    return undefined;
  }

  #keep(xz: RunningXz): void {
    this.#idle.push(xz);
    xz.idle(() => {
      const at = this.#idle.indexOf(xz);
      if (at !== -1) this.#idle.splice(at, 1);
    });
  }
}

interface DecodingOptions {
  readonly outputBytes: number;
  readonly signal: AbortSignal | undefined;
  readonly stallMs: number;
  readonly giveBack: () => void;
}

/** One file on its way through a program. To be ended or to be given up. */
export class XzDecoding {
  readonly #xz: RunningXz;
  readonly #options: DecodingOptions;
  readonly #hash = createHash('sha256');
  readonly #verdict = Promise.withResolvers<Buffer | undefined>();
  /** What has come after the file: the beginning of our own streams, if all is well. */
  #after = Buffer.alloc(0);
  #leftBytes: number;
  #sentBytes = 0;
  #isSettled = false;
  /** Runs out when nothing comes any more. */
  #patience: NodeJS.Timeout | undefined;
  readonly #abort = (): void => this.giveUp();

  constructor(xz: RunningXz, options: DecodingOptions) {
    this.#xz = xz;
    this.#options = options;
    this.#leftBytes = options.outputBytes;
    options.signal?.addEventListener('abort', this.#abort, { once: true });
    xz.listen({ onOutput: (bytes) => this.#take(bytes), onGone: () => this.#settle(undefined) });
  }

  /** Resolves when the next piece may come. What goes wrong is told at the end. */
  async write(bytes: Uint8Array): Promise<void> {
    this.#sentBytes += bytes.length;
    if (!this.#isSettled) await this.#xz.send(bytes);
  }

  /** The SHA-256 of the output; undefined when the file does not decode to as many bytes, or could not be decoded. Throws the signal's reason. */
  async end(): Promise<Buffer | undefined> {
    // Streams are of whole words: what follows would be read as a part of the file.
    if (this.#sentBytes % 4 !== 0) this.giveUp();
    if (!this.#isSettled) {
      this.#patience = setTimeout(() => this.giveUp(), this.#options.stallMs);
      void this.#xz.sendMark();
    }
    const sha256 = await this.#verdict.promise;
    this.#options.signal?.throwIfAborted();
    return sha256;
  }

  /** Nobody wants to know any more. */
  giveUp(): void {
    this.#settle(undefined);
  }

  #take(bytes: Buffer): void {
    this.#patience?.refresh();
    const ofFile = bytes.subarray(0, this.#leftBytes);
    this.#hash.update(ofFile);
    this.#leftBytes -= ofFile.length;
    const after = bytes.subarray(ofFile.length);
    if (after.length === 0) return releaseMemory(bytes);
    this.#after = Buffer.concat([this.#after, after]);
    const mark = this.#xz.mark.subarray(0, this.#after.length);
    if (!this.#after.subarray(0, mark.length).equals(mark)) return this.#settle(undefined);
    if (this.#after.length >= LIMITS.xzMarkProofBytes) this.#settle(this.#hash.digest());
  }

  #settle(sha256: Buffer | undefined): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    clearTimeout(this.#patience);
    this.#options.signal?.removeEventListener('abort', this.#abort);
    if (sha256 === undefined) {
      this.#xz.kill();
    } else {
      this.#xz.unlisten(this.#after.length);
      this.#options.giveBack();
    }
    this.#verdict.resolve(sha256);
  }
}

interface XzListener {
  readonly onOutput: (bytes: Buffer) => void;
  readonly onGone: () => void;
}

/** The pipes of a child process are sockets, which may or may not keep this process running. */
type Pipe<Stream> = Stream & Pick<ChildProcess, 'ref' | 'unref'>;

/** A program that decodes whatever it is sent. It reads and writes in blocks, so that what it is sent is filled up to whole ones. */
class RunningXz {
  readonly file: string;
  /**
   * What our own streams decode to: new for each program, so that no file can hold it. They are two: a file that is cut off where the first would
   * complete it could pass for whole until that one ends, and never comes to the second.
   */
  readonly mark: Buffer = randomBytes(LIMITS.xzMarkBytes);
  readonly #markStreams: Buffer = Buffer.concat([
    storeAsXz(this.mark.subarray(0, LIMITS.xzFirstMarkBytes)),
    storeAsXz(this.mark.subarray(LIMITS.xzFirstMarkBytes)),
  ]);
  readonly #child: ChildProcess;
  readonly #stdin: Pipe<Writable>;
  readonly #stdout: Pipe<Readable>;
  #listener: XzListener | undefined;
  #sentBytes = 0;
  /** Of the last mark, which comes out with the next file. */
  #markBytesToCome = 0;
  #idleTimer: NodeJS.Timeout | undefined;
  #isGone = false;

  constructor({ file, args }: ProgramStart) {
    this.file = file;
    this.#child = spawn(file, [...args, ...decompressorArguments('xz')], {
      stdio: ['pipe', 'pipe', 'ignore'],
      // XZ_OPT would change what the program does.
      env: { LC_ALL: 'C' },
    });
    this.#stdin = this.#child.stdin as Pipe<Writable>;
    this.#stdout = this.#child.stdout as Pipe<Readable>;
    const onGone = (): void => {
      this.#isGone = true;
      this.#listener?.onGone();
    };
    this.#child.on('error', onGone).on('exit', onGone);
    this.#stdin.on('error', onGone);
    this.#stdout.on('data', (bytes: Buffer) => this.#receive(bytes));
  }

  get isUsable(): boolean {
    return !this.#isGone;
  }

  listen(listener: XzListener): void {
    this.#listener = listener;
    if (this.#isGone) listener.onGone();
  }

  /** @param markBytes how much of the last mark has come out. */
  unlisten(markBytes: number): void {
    this.#listener = undefined;
    this.#markBytesToCome = this.mark.length - markBytes;
  }

  send(bytes: Uint8Array): Promise<void> {
    this.#sentBytes += bytes.length;
    return new Promise((resolve) => {
      // Errors are heard of as the end of the program.
      this.#stdin.write(bytes, () => resolve());
    });
  }

  async sendMark(): Promise<void> {
    const filledBytes = this.#sentBytes + this.#markStreams.length;
    const padding = (LIMITS.xzBlockBytes - (filledBytes % LIMITS.xzBlockBytes)) % LIMITS.xzBlockBytes;
    await this.send(Buffer.concat([this.#markStreams, Buffer.alloc(padding)]));
  }

  /** Ends it after a while, unless it is needed again. */
  idle(onEnd: () => void): void {
    for (const handle of [this.#child, this.#stdin, this.#stdout]) handle.unref();
    this.#idleTimer = setTimeout(() => {
      this.kill();
      onEnd();
    }, LIMITS.xzIdleMs).unref();
  }

  stopIdling(): void {
    clearTimeout(this.#idleTimer);
    for (const handle of [this.#child, this.#stdin, this.#stdout]) handle.ref();
  }

  kill(): void {
    this.#isGone = true;
    this.#listener = undefined;
    this.#child.kill('SIGKILL');
    this.#stdin.destroy();
    this.#stdout.destroy();
  }

  #receive(bytes: Buffer): void {
    const rest = bytes.subarray(this.#markBytesToCome);
    this.#markBytesToCome -= bytes.length - rest.length;
    if (rest.length > 0) this.#listener?.onOutput(rest);
  }
}
