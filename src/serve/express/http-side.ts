import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';

export interface HttpSideEvents {
  /** node:http would read on. */
  readonly onRead: () => void;
  /** node:http is through with the connection, or gives it up. */
  readonly onDestroy: () => void;
}

/**
 * What node:http gets for a connection of the express lane: a stream that reads what `receive` is given and writes to the socket, so that the
 * lane can go on with the socket once an answer is through.
 */
export class HttpSide extends Duplex {
  readonly #socket: Socket;
  readonly #events: HttpSideEvents;

  constructor(socket: Socket, events: HttpSideEvents) {
    super({ allowHalfOpen: true, readableHighWaterMark: socket.readableHighWaterMark });
    this.#socket = socket;
    this.#events = events;
  }

  /** Bytes from the client; undefined: there will be no more. */
  receive(chunk: Buffer | undefined): void {
    if (this.destroyed || this.readableEnded) return;
    if (!this.push(chunk ?? null)) this.#socket.pause();
  }

  // What node:http, fastify and the front page want to know of a socket.
  get remoteAddress(): string | undefined {
    return this.#socket.remoteAddress;
  }

  get remotePort(): number | undefined {
    return this.#socket.remotePort;
  }

  get localAddress(): string | undefined {
    return this.#socket.localAddress;
  }

  get localPort(): number | undefined {
    return this.#socket.localPort;
  }

  /** The lane hears when the time is over. */
  setTimeout(timeoutMs: number): this {
    this.#socket.setTimeout(timeoutMs);
    return this;
  }

  /** As a socket has it: ends once everything is written, and waits for nothing from the client. */
  destroySoon(): void {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else this.once('finish', () => this.destroy());
  }

  override _read(): void {
    this.#events.onRead();
  }

  /** `done` comes when the system has the bytes, not before: whoever writes may use its buffer again then. */
  override _write(chunk: Buffer | string, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#socket.write(chunk, encoding, done);
  }

  override _writev(
    chunks: { chunk: Buffer | string; encoding: BufferEncoding }[],
    done: (error?: Error | null) => void,
  ): void {
    this.#socket.cork();
    const last = chunks.pop();
    for (const { chunk, encoding } of chunks) this.#socket.write(chunk, encoding);
    if (last === undefined) done();
    else this.#socket.write(last.chunk, last.encoding, done);
    this.#socket.uncork();
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#socket.end(() => done());
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#events.onDestroy();
    done(error);
  }
}
