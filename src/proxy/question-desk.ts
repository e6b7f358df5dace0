import type { Socket } from 'node:net';
import { LIMITS } from '../base/limits.ts';
import { narInfoName } from '../mirror/layout.ts';
import { isAliasOf, parseNarAlias } from '../mirror/nar-alias.ts';
import type { Storage } from '../mirror/storage.ts';
import { NixFormatError } from '../nix/format-error.ts';
import { parseNarInfo } from '../nix/narinfo.ts';
import { isHashPart } from '../nix/store-path.ts';
import type { Downloads } from './downloads.ts';
import type { HeldPaths } from './held-paths.ts';
import { LineChannel } from './line-channel.ts';
import type { LookAhead } from './look-ahead.ts';
import type { RememberedOffer } from './offer-table.ts';
import type { Offers } from './offers.ts';
import type { PassedNars } from './passed-nars.ts';
import type { Answer, NarEvent, Numbered, ProxyFacts, Question } from './protocol.ts';
import type { SmallFiles } from './small-files.ts';
import type { UpstreamLine } from './upstream-line.ts';

export interface QuestionDeskOptions {
  readonly offers: Offers;
  readonly downloads: Downloads;
  readonly held: HeldPaths;
  readonly passed: PassedNars;
  readonly files: SmallFiles;
  readonly lines: readonly UpstreamLine[];
  readonly storage: Storage;
  readonly storeDir: string;
  readonly lookAhead: LookAhead | undefined;
}

/** Answers the questions of the serving processes, each over a connection of its own. */
export class QuestionDesk {
  readonly #options: QuestionDeskOptions;
  readonly #channels = new Set<Visitor>();

  constructor(options: QuestionDeskOptions) {
    this.#options = options;
  }

  take(socket: Socket): void {
    const visitor = new Visitor(socket, this.#options, () => this.#channels.delete(visitor));
    this.#channels.add(visitor);
  }

  /** What was said to be had from upstreams may be had no longer. */
  tellLost(): void {
    for (const visitor of this.#channels) visitor.tellLost();
  }

  close(): void {
    for (const visitor of this.#channels) visitor.close();
  }
}

class Visitor {
  readonly #options: QuestionDeskOptions;
  readonly #channel: LineChannel<Numbered<Answer>, Numbered<Question>>;
  /** What ends the following of a NAR, by the number of the question. */
  readonly #following = new Map<number, () => void>();

  constructor(socket: Socket, options: QuestionDeskOptions, onClose: () => void) {
    this.#options = options;
    this.#channel = new LineChannel(socket, {
      onMessage: (question) => void this.#answer(question),
      onClose: () => {
        for (const stop of this.#following.values()) stop();
        this.#following.clear();
        onClose();
      },
    });
  }

  tellLost(): void {
    this.#channel.send({ id: 0, say: 'lost' });
  }

  close(): void {
    this.#channel.close();
  }

  async #answer(question: Numbered<Question>): Promise<void> {
    const { id } = question;
    const say = (answer: Answer): void => void this.#channel.send({ id, ...answer });
    switch (question.ask) {
      case 'narinfo':
        return say({ say: 'narinfo', text: await this.#narInfo(question.hashPart) });
      case 'nar':
        return this.#nar(id, question.name, question.head).catch(() => say({ say: 'failed' }));
      case 'file': {
        const bytes = await this.#options.files.find(question.name).catch(() => undefined);
        return say({ say: 'file', base64: bytes?.toString('base64') ?? null });
      }
      case 'states':
        return say({ say: 'states', ...this.#facts() });
      case 'cancel':
        this.#following.get(id)?.();
        this.#following.delete(id);
    }
  }

  #facts(): ProxyFacts {
    const { lines, downloads, held } = this.#options;
    return { upstreams: lines.map(({ state }) => state), fetched: downloads.fetched, waiting: held.amount };
  }

  async #narInfo(hashPart: string): Promise<string | null> {
    if (!isHashPart(hashPart)) return null;
    const offer = await this.#options.offers.find(hashPart).catch(() => undefined);
    return offer?.text ?? null;
  }

  async #nar(id: number, name: string, head: boolean): Promise<void> {
    const say = (event: NarEvent): void => {
      if (event.say !== 'growing') this.#following.delete(id);
      this.#channel.send({ id, ...event });
    };
    const { held, passed, storage, offers, downloads, lookAhead } = this.#options;
    const heldFile = held.file(name);
    if (heldFile !== undefined) {
      await held.touch(heldFile);
      return say({ say: 'verified', file: heldFile.narFile, sizeBytes: heldFile.sizeBytes });
    }
    if ((await storage.stat(name)) !== undefined) return say({ say: 'here', name });
    const alias = await this.#byAlias(name);
    if (alias !== undefined) return say(alias);
    const offer = await this.#offerOf(name);
    const passing = passed.file(name);
    // What there is room for by now is fetched again, to be kept.
    if (passing !== undefined && (offer === undefined || !(await downloads.canKeep(offer.info)))) {
      return say({ say: 'verified', file: passing.narFile, sizeBytes: passing.sizeBytes });
    }
    if (offer === undefined) return say({ say: 'absent' });
    if (head) {
      const mayBeHad = offers.line(offer.upstream)?.isUp === true;
      return say(mayBeHad ? { say: 'known', sizeBytes: offer.info.fileSizeBytes } : { say: 'absent' });
    }
    if (this.#following.size >= LIMITS.proxyQuestionsInFlight) return say({ say: 'absent' });
    lookAhead?.want(offer.info.references.filter((reference) => reference !== offer.info.storePath));
    this.#following.set(id, () => {});
    const stop = downloads.follow(offer, say);
    if (this.#following.has(id)) this.#following.set(id, stop);
    else stop();
  }

  /** The NAR behind a name that was given without knowing the file's hash, if it is here by now. */
  async #byAlias(name: string): Promise<NarEvent | undefined> {
    const { held, storage, storeDir } = this.#options;
    const alias = parseNarAlias(name);
    if (alias === undefined) return undefined;
    const bytes = await storage.read(narInfoName(alias.hashPart));
    if (bytes !== undefined) {
      try {
        const info = parseNarInfo(bytes, storeDir);
        return isAliasOf(alias, info) ? { say: 'here', name: info.url } : undefined;
      } catch (error) {
        if (!(error instanceof NixFormatError)) throw error;
      }
    }
    const waiting = held.byHashPart(alias.hashPart);
    if (waiting === undefined || !isAliasOf(alias, waiting.info)) return undefined;
    return { say: 'verified', file: waiting.narFile, sizeBytes: waiting.info.fileSizeBytes ?? 0 };
  }

  async #offerOf(name: string): Promise<RememberedOffer | undefined> {
    const { offers } = this.#options;
    const known = offers.byNarName(name);
    if (known !== undefined) return known;
    const alias = parseNarAlias(name);
    const offer = alias === undefined ? undefined : await offers.find(alias.hashPart);
    return offer?.narName === name ? offer : undefined;
  }
}
