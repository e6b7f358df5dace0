import { LIMITS } from '../base/limits.ts';
import type { NarEvent } from './protocol.ts';

export type NarListener = (event: NarEvent) => void;

/** One transfer of a NAR, and everybody who follows it. Who comes later hears first how far it has come. */
export class Download {
  #file: string;
  readonly #sizeBytes: number | undefined;
  readonly #progressMs: number;
  readonly #followers = new Set<NarListener>();
  #availableBytes = 0;
  #toldBytes = 0;
  #timer: NodeJS.Timeout | undefined;
  #end: NarEvent | undefined;

  constructor(file: string, sizeBytes: number | undefined, progressMs: number) {
    this.#file = file;
    this.#sizeBytes = sizeBytes;
    this.#progressMs = progressMs;
  }

  /** Gives what ends the following. */
  follow(listener: NarListener): () => void {
    if (this.#end !== undefined) {
      listener(this.#end);
      return () => {};
    }
    this.#followers.add(listener);
    if (this.#availableBytes > 0) listener(this.#progress());
    return () => void this.#followers.delete(listener);
  }

  /** It goes on from its beginning in another file. */
  moves(file: string): void {
    this.grown(0);
    this.#file = file;
  }

  /** So many bytes are in the file; fewer than before: the file has been begun anew, and whoever has read of the former has read of another. */
  grown(availableBytes: number): void {
    if (availableBytes < this.#availableBytes) {
      const former = [...this.#followers];
      this.#followers.clear();
      this.#availableBytes = availableBytes;
      this.#toldBytes = 0;
      for (const listener of former) listener({ say: 'failed' });
      return;
    }
    this.#availableBytes = availableBytes;
    if (this.#timer === undefined) this.#tellOfGrowth();
  }

  end(event: NarEvent): void {
    clearTimeout(this.#timer);
    this.#end = event;
    this.#tell(event);
    this.#followers.clear();
  }

  /** As soon as it is of use to anybody, and from then on what comes in small pieces in larger ones. */
  #tellOfGrowth(): void {
    if (this.#availableBytes <= Math.max(this.#toldBytes, LIMITS.proxyHeldBackBytes)) return;
    this.#toldBytes = this.#availableBytes;
    this.#tell(this.#progress());
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#tellOfGrowth();
    }, this.#progressMs);
  }

  #progress(): NarEvent {
    return { say: 'growing', file: this.#file, availableBytes: this.#availableBytes, sizeBytes: this.#sizeBytes };
  }

  #tell(event: NarEvent): void {
    for (const listener of this.#followers) listener(event);
  }
}
