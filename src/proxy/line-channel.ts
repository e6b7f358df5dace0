import type { Socket } from 'node:net';
import { LIMITS } from '../base/limits.ts';

export interface LineChannelEvents<Received> {
  readonly onMessage: (message: Received) => void;
  /** Once; nothing can be said any more. */
  readonly onClose: () => void;
}

/**
 * JSON objects, one a line, both ways over a socket between processes of ours. A side that does not read, or sends lines without end, loses
 * the connection: each side then goes on as if the other had died, which both must bear anyway.
 */
export class LineChannel<Sent, Received> {
  readonly #socket: Socket;
  readonly #events: LineChannelEvents<Received>;
  #pieces: Buffer[] = [];
  #pendingBytes = 0;

  constructor(socket: Socket, events: LineChannelEvents<Received>) {
    this.#socket = socket;
    this.#events = events;
    socket.on('error', () => socket.destroy());
    socket.once('close', () => events.onClose());
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
  }

  /** Whether the message is on its way; false when the other side is gone, or does not keep up. */
  send(message: Sent): boolean {
    if (this.#socket.destroyed) return false;
    if (this.#socket.writableLength > LIMITS.proxyQueueBytes) {
      this.#socket.destroy();
      return false;
    }
    this.#socket.write(`${JSON.stringify(message)}\n`);
    return true;
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(chunk: Buffer): void {
    let start = 0;
    for (let end = chunk.indexOf(LINE_END); end !== -1; end = chunk.indexOf(LINE_END, start)) {
      this.#pieces.push(chunk.subarray(start, end));
      const line = Buffer.concat(this.#pieces).toString();
      this.#pieces = [];
      this.#pendingBytes = 0;
      start = end + 1;
      this.#events.onMessage(JSON.parse(line) as Received);
    }
    if (start === chunk.length) return;
    this.#pieces.push(chunk.subarray(start));
    this.#pendingBytes += chunk.length - start;
    if (this.#pendingBytes > LIMITS.proxyMessageBytes) this.#socket.destroy();
  }
}

const LINE_END = 0x0a;
