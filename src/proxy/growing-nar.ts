import type { NarEvent } from './protocol.ts';

/** How far a NAR has come, as one reader of it may rely on it. */
export interface NarProgress {
  /** The file to read from; none yet before the first byte. */
  readonly file: string | undefined;
  readonly availableBytes: number;
  readonly sizeBytes: number | undefined;
  /** `growing`: not verified yet; `here`: in the mirror under `file`, a name there. */
  readonly state: 'growing' | 'verified' | 'here' | 'failed' | 'absent';
}

/** A NAR on its way into the mirror, seen by one client: always the latest word, however many were said meanwhile. */
export class GrowingNar {
  #progress: NarProgress = { file: undefined, availableBytes: 0, sizeBytes: undefined, state: 'growing' };
  #waiting: (() => void) | undefined;
  readonly #onClose: () => void;

  /** @param onClose tells who sends the events that no more are wanted. */
  constructor(onClose: () => void) {
    this.#onClose = onClose;
  }

  get progress(): NarProgress {
    return this.#progress;
  }

  /** Resolves when the progress is another than `known`. */
  async changed(known: NarProgress): Promise<NarProgress> {
    if (this.#progress === known) {
      await new Promise<void>((resolve) => {
        this.#waiting = resolve;
      });
    }
    return this.#progress;
  }

  take(event: NarEvent): void {
    if (this.#progress.state !== 'growing') return;
    this.#progress = after(this.#progress, event);
    this.#waiting?.();
    this.#waiting = undefined;
  }

  close(): void {
    this.take({ say: 'failed' });
    this.#onClose();
  }
}

function after(before: NarProgress, event: NarEvent): NarProgress {
  switch (event.say) {
    case 'known':
      return { ...before, sizeBytes: event.sizeBytes };
    case 'growing': {
      const { file, availableBytes, sizeBytes } = event;
      // What was read before is no longer what the file begins with.
      if (availableBytes < before.availableBytes) return { ...before, state: 'failed' };
      return { file, availableBytes, sizeBytes, state: 'growing' };
    }
    case 'verified':
      return { file: event.file, availableBytes: event.sizeBytes, sizeBytes: event.sizeBytes, state: 'verified' };
    case 'here':
      return { ...before, file: event.name, state: 'here' };
    case 'absent':
    case 'failed':
      return { ...before, state: event.say };
  }
}
