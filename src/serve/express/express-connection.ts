import type { Socket } from 'node:net';
import { LIMITS } from '../../base/limits.ts';
import { type HashPart, isHashPart } from '../../nix/store-path.ts';
import type { NarInfoCache, ServedNarInfo } from '../narinfo-cache.ts';
import type { AnswerStart } from './express-answer.ts';
import { arePlain, asExpressRequest, isWholeRequest } from './express-request.ts';
import { HttpSide } from './http-side.ts';

/** What the connections of a lane share. */
export interface ExpressSurroundings {
  readonly narInfos: Pick<NarInfoCache, 'atHand' | 'find'>;
  readonly answerStart: AnswerStart;
  readonly stopping: AbortSignal;
  /** Lets node:http treat a stream as a new connection. */
  readonly openHttp: (side: HttpSide) => void;
}

/** One connection: answers what it can by itself, and is a wire between client and node:http for everything else. */
export class ExpressConnection {
  readonly #socket: Socket;
  readonly #surroundings: ExpressSurroundings;
  #http: HttpSide | undefined;
  /** Requests that node:http has and of which the answer is not through. */
  #httpRequests = 0;
  /** What came in could be anything: only node:http knows where a request ends. */
  #httpForGood = false;
  #looking = false;
  #closing = false;
  /** The header fields of the last express request. A client sends the same ones each time. */
  #fields: string | undefined;

  constructor(socket: Socket, surroundings: ExpressSurroundings) {
    this.#socket = socket;
    this.#surroundings = surroundings;
    socket.setTimeout(LIMITS.requestTimeoutMs);
    socket.on('timeout', () => socket.destroy());
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#http?.destroy());
    socket.on('end', () => this.#onEnd());
    socket.on('data', (chunk: Buffer) => this.#onData(chunk));
  }

  /** node:http has sent the whole answer. */
  answered(): void {
    this.#httpRequests -= 1;
  }

  /** Ends the connection unless an answer is on its way, and else after that answer. */
  closeIdle(): void {
    this.#closing = true;
    if (!this.#looking && this.#httpRequests === 0) this.#socket.destroySoon();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #onData(chunk: Buffer): void {
    if (this.#httpForGood || chunk.length > LIMITS.expressRequestBytes) {
      this.#giveToHttp(chunk);
      return;
    }
    const text = chunk.toString('latin1');
    // Answers go out in the order of the requests: what comes while node:http is at work waits there for its turn.
    const free = this.#httpRequests === 0 && !this.#surroundings.stopping.aborted;
    const request = free ? asExpressRequest(text) : undefined;
    if (request === undefined || !this.#isPlain(request.fields)) {
      this.#giveToHttp(chunk, text);
      return;
    }
    const narInfo = this.#surroundings.narInfos.atHand(request.hashPart);
    if (narInfo !== undefined) this.#send(narInfo);
    else if (isHashPart(request.hashPart)) void this.#lookFor(request.hashPart, chunk, text);
    else this.#giveToHttp(chunk, text);
  }

  #isPlain(fields: string): boolean {
    if (fields === this.#fields) return true;
    if (!arePlain(fields)) return false;
    this.#fields = fields;
    this.#socket.setTimeout(LIMITS.keepAliveMs);
    return true;
  }

  async #lookFor(hashPart: HashPart, chunk: Buffer, text: string): Promise<void> {
    const socket = this.#socket;
    this.#looking = true;
    socket.pause();
    // What cannot be read is for node:http to explain.
    const found = await this.#surroundings.narInfos.find(hashPart).catch(() => undefined);
    this.#looking = false;
    if (socket.destroyed) return;
    if (found === undefined) this.#giveToHttp(chunk, text);
    else this.#send(found);
    socket.resume();
    if (this.#closing) this.closeIdle();
  }

  #send(narInfo: ServedNarInfo): void {
    const socket = this.#socket;
    if (socket.write(this.#surroundings.answerStart.get() + narInfo.answer, 'latin1')) return;
    // A client that asks on and on without reading waits until it has read.
    socket.pause();
    socket.once('drain', () => this.#resume());
  }

  #giveToHttp(chunk: Buffer, text?: string): void {
    if (text === undefined || !isWholeRequest(text)) this.#httpForGood = true;
    this.#httpRequests += 1;
    if (this.#http === undefined) {
      this.#http = new HttpSide(this.#socket, {
        onRead: () => this.#resume(),
        onDestroy: () => this.#onHttpGone(),
      });
      this.#surroundings.openHttp(this.#http);
    }
    this.#http.receive(chunk);
  }

  /** Not while a narinfo is looked for: what comes next must wait for its answer. */
  #resume(): void {
    if (!this.#looking) this.#socket.resume();
  }

  #onHttpGone(): void {
    if (this.#httpRequests > 0 || this.#httpForGood) this.#socket.destroy();
    else this.closeIdle();
  }

  /** The client sends nothing more, but may still be reading. */
  #onEnd(): void {
    if (this.#http !== undefined && !this.#looking) this.#http.receive(undefined);
    else this.closeIdle();
  }
}
