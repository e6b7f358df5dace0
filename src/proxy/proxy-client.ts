import { connect } from 'node:net';
import { systemClock } from '../base/clock.ts';
import { LIMITS } from '../base/limits.ts';
import { GrowingNar } from './growing-nar.ts';
import { LineChannel } from './line-channel.ts';
import type { Answer, NarEvent, Numbered, ProxyFacts, Question } from './protocol.ts';

/** What a serving process can ask of the fetcher. Nothing here ever throws or waits without bound: no answer is the answer that there is nothing. */
export interface ProxyClient {
  /** What clients are told of a path that the mirror does not have. */
  narInfo(hashPart: string): Promise<Buffer | undefined>;
  /** The NAR that stands behind `nar/…` in such a narinfo. To be closed. */
  nar(name: string): GrowingNar;
  /** Whether there is such a NAR, and how large it is as far as somebody has stated it. */
  narHead(name: string): Promise<{ readonly sizeBytes: number | undefined } | { readonly name: string } | undefined>;
  file(name: string): Promise<Buffer | undefined>;
  /** Calls when what upstreams were said to have may no longer be had. */
  onOffersLost(listener: () => void): void;
  facts(): Promise<ProxyFacts | undefined>;
  close(): void;
}

export interface ProxyClientOptions {
  readonly socketFile: string;
  readonly answerTimeoutMs?: number | undefined;
  /** How long the first question waits for a fetcher that is being started again. */
  readonly connectTimeoutMs?: number | undefined;
}

export function openProxyClient(options: ProxyClientOptions): ProxyClient {
  return new SocketProxyClient(options);
}

type Channel = LineChannel<Numbered<Question>, Numbered<Answer>>;

class SocketProxyClient implements ProxyClient {
  readonly #socketFile: string;
  readonly #answerTimeoutMs: number;
  readonly #connectTimeoutMs: number;
  readonly #listeners = new Map<number, (answer: Answer | typeof HUNG_UP) => void>();
  readonly #lostListeners: (() => void)[] = [];
  #channel: Promise<Channel | undefined> | undefined;
  /** Whether a question has waited for it in vain; the next ones only look. */
  #isGone = false;
  #lastId = 0;
  #isClosed = false;

  constructor({ socketFile, answerTimeoutMs, connectTimeoutMs }: ProxyClientOptions) {
    this.#socketFile = socketFile;
    this.#answerTimeoutMs = answerTimeoutMs ?? LIMITS.proxyAnswerMs;
    this.#connectTimeoutMs = connectTimeoutMs ?? LIMITS.proxyConnectMs;
  }

  async narInfo(hashPart: string): Promise<Buffer | undefined> {
    const answer = await this.#ask({ ask: 'narinfo', hashPart });
    return answer?.say === 'narinfo' && answer.text !== null ? Buffer.from(answer.text) : undefined;
  }

  async narHead(name: string): ReturnType<ProxyClient['narHead']> {
    const answer = await this.#ask({ ask: 'nar', name, head: true });
    if (answer?.say === 'known') return { sizeBytes: answer.sizeBytes };
    if (answer?.say === 'verified') return { sizeBytes: answer.sizeBytes };
    return answer?.say === 'here' ? { name: answer.name } : undefined;
  }

  async file(name: string): Promise<Buffer | undefined> {
    const answer = await this.#ask({ ask: 'file', name });
    return answer?.say === 'file' && answer.base64 !== null ? Buffer.from(answer.base64, 'base64') : undefined;
  }

  async facts(): Promise<ProxyFacts | undefined> {
    const answer = await this.#ask({ ask: 'states' });
    if (answer?.say !== 'states') return undefined;
    const { upstreams, fetched, waiting } = answer;
    return { upstreams, fetched, waiting };
  }

  onOffersLost(listener: () => void): void {
    this.#lostListeners.push(listener);
  }

  nar(name: string): GrowingNar {
    const id = ++this.#lastId;
    const nar = new GrowingNar(() => {
      if (this.#listeners.delete(id)) void this.#say({ id, ask: 'cancel' });
    });
    const listen = (answer: Answer | typeof HUNG_UP): void => {
      const event: NarEvent = answer === HUNG_UP || !isNarEvent(answer) ? { say: 'failed' } : answer;
      if (event.say !== 'growing') this.#listeners.delete(id);
      nar.take(event);
    };
    this.#listeners.set(id, listen);
    void this.#say({ id, ask: 'nar', name, head: false }).then((said) => {
      if (!said && this.#listeners.delete(id)) nar.take({ say: 'absent' });
    });
    return nar;
  }

  close(): void {
    this.#isClosed = true;
    void this.#channel?.then((channel) => channel?.close());
    this.#hangUp();
  }

  /** A fetcher that dies over a question is replaced, and the question put to the next one. */
  async #ask(question: Question): Promise<Answer | undefined> {
    const answer = await this.#askOnce(question);
    return answer === HUNG_UP ? unlessHungUp(await this.#askOnce(question)) : answer;
  }

  #askOnce(question: Question): Promise<Answer | typeof HUNG_UP | undefined> {
    if (this.#listeners.size >= LIMITS.proxyQuestionsInFlight) return Promise.resolve(undefined);
    const id = ++this.#lastId;
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        settle(undefined);
        void this.#say({ id, ask: 'cancel' });
      }, this.#answerTimeoutMs);
      const settle = (answer: Answer | typeof HUNG_UP | undefined): void => {
        clearTimeout(timer);
        this.#listeners.delete(id);
        resolve(answer);
      };
      this.#listeners.set(id, settle);
      void this.#say({ id, ...question }).then((said) => {
        if (!said) settle(undefined);
      });
    });
  }

  async #say(message: Numbered<Question>): Promise<boolean> {
    this.#channel ??= this.#connect();
    return (await this.#channel)?.send(message) ?? false;
  }

  /** One that has died is back soon; whoever asks meanwhile waits a moment, but when it does not come back, only once. */
  async #connect(): Promise<Channel | undefined> {
    const giveUpMs = systemClock.nowMs() + this.#connectTimeoutMs;
    for (;;) {
      const channel = this.#isClosed ? undefined : await this.#connectOnce();
      this.#isGone &&= channel === undefined;
      if (channel !== undefined) return channel;
      if (this.#isClosed || this.#isGone || systemClock.nowMs() >= giveUpMs) break;
      await systemClock.sleep(RECONNECT_MS);
    }
    this.#isGone = true;
    this.#channel = undefined;
    return undefined;
  }

  #connectOnce(): Promise<Channel | undefined> {
    return new Promise((resolve) => {
      const socket = connect(this.#socketFile);
      // Nothing but clients' questions may keep the process alive.
      socket.unref();
      const onEarlyClose = (): void => resolve(undefined);
      socket.once('close', onEarlyClose).on('error', onEarlyClose);
      socket.once('connect', () => {
        socket.off('close', onEarlyClose);
        resolve(
          new LineChannel(socket, {
            onMessage: (message) => this.#hear(message),
            onClose: () => this.#hangUp(),
          }),
        );
      });
    });
  }

  #hear({ id, ...answer }: Numbered<Answer>): void {
    if (answer.say === 'lost') for (const listener of this.#lostListeners) listener();
    else this.#listeners.get(id)?.(answer as Answer);
  }

  #hangUp(): void {
    this.#channel = undefined;
    for (const listener of this.#lostListeners) listener();
    const listeners = [...this.#listeners.values()];
    this.#listeners.clear();
    for (const listen of listeners) listen(HUNG_UP);
  }
}

const RECONNECT_MS = 50;
/** In place of an answer: the fetcher is gone. */
const HUNG_UP = Symbol('hung up');

function unlessHungUp(answer: Answer | typeof HUNG_UP | undefined): Answer | undefined {
  return answer === HUNG_UP ? undefined : answer;
}

function isNarEvent(answer: Answer): answer is NarEvent {
  return answer.say !== 'narinfo' && answer.say !== 'file' && answer.say !== 'states' && answer.say !== 'lost';
}
