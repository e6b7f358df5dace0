import { LIMITS } from '../../base/limits.ts';
import { CACHE_SHORTLY } from '../send.ts';

/** How every answer with a narinfo begins; the rest is in `formatNarInfoAnswer`. It must say what the other way to a narinfo says. */
export function formatAnswerStart(date: Date): string {
  return (
    `HTTP/1.1 200 OK\r\ncache-control: ${CACHE_SHORTLY}\r\ncontent-type: ${NARINFO_TYPE}\r\nDate: ${date.toUTCString()}\r\n` +
    `Connection: keep-alive\r\nKeep-Alive: timeout=${LIMITS.keepAliveMs / 1000}\r\n`
  );
}

/** The header fields that are a narinfo's own, the empty line, and the narinfo; one character a byte. */
export function formatNarInfoAnswer(bytes: Buffer, etag: string): string {
  // Through a buffer, so that it is one piece: joined strings are trees that V8 would have to flatten with each answer.
  const head = Buffer.from(`etag: ${etag}\r\ncontent-length: ${bytes.length}\r\n\r\n`, 'latin1');
  return Buffer.concat([head, bytes]).toString('latin1');
}

/** The narinfo within what `formatNarInfoAnswer` made. */
export function narInfoOfAnswer(answer: string): Buffer {
  return Buffer.from(answer.slice(answer.indexOf('\r\n\r\n') + 4), 'latin1');
}

export const NARINFO_TYPE = 'text/x-nix-narinfo';

/** `formatAnswerStart` of this very second. */
export class AnswerStart {
  readonly #nowMs: () => number;
  #second = Number.NaN;
  #text = '';

  constructor(nowMs: () => number = Date.now) {
    this.#nowMs = nowMs;
  }

  get(): string {
    const second = Math.floor(this.#nowMs() / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#text = Buffer.from(formatAnswerStart(new Date(second * 1000))).toString('latin1');
    }
    return this.#text;
  }
}
