import { rm } from 'node:fs/promises';
import { LIMITS } from '../base/limits.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { type PublishCandidate, publish } from '../mirror/publish.ts';
import type { StorePath } from '../nix/index.ts';
import type { CollectProblem } from './plan.ts';

/**
 * Takes finished paths in any order and publishes them in waves: a path goes into a wave as soon as all that it refers to is
 * visible or in the wave too. One wave runs at a time.
 */
export class PublishQueue {
  readonly #mirror: Mirror;
  readonly #signal: AbortSignal;
  readonly #visible: Set<StorePath>;
  readonly #waiting = new Map<StorePath, PublishCandidate>();
  readonly #leftovers = new Map<StorePath, string>();
  readonly #refused: CollectProblem[] = [];
  #sinceLastWave = 0;
  #wave: Promise<void> = Promise.resolve();

  /** @param visible paths that the mirror is known to have. */
  constructor(mirror: Mirror, visible: Iterable<StorePath>, signal: AbortSignal) {
    this.#mirror = mirror;
    this.#signal = signal;
    this.#visible = new Set(visible);
  }

  publishedCount = 0;

  /** @param leftover a file to be removed once the path is published. */
  async add(candidate: PublishCandidate, leftover?: string): Promise<void> {
    this.#waiting.set(candidate.info.storePath, candidate);
    if (leftover !== undefined) this.#leftovers.set(candidate.info.storePath, leftover);
    this.#sinceLastWave += 1;
    if (this.#sinceLastWave < LIMITS.pathsPerPublishWave) return;
    this.#sinceLastWave = 0;
    await this.#publishReady();
  }

  /** Publishes what can be by now. */
  flush(): Promise<void> {
    return this.#publishReady();
  }

  /** Publishes what is left; gives what could not be published, each with what it lacks. */
  async finish(): Promise<CollectProblem[]> {
    await this.#publishReady();
    const blocked = [...this.#waiting.values()].map(({ info }): CollectProblem => {
      const missing = info.references.filter(
        (reference) => reference !== info.storePath && !this.#visible.has(reference),
      );
      return {
        storePath: info.storePath,
        kind: 'blocked',
        detail: `it is fetched, but it needs ${missing.join(', ')}`,
        wantedBy: undefined,
      };
    });
    return [...this.#refused, ...blocked];
  }

  #publishReady(): Promise<void> {
    const wave = this.#wave.then(() => this.#publishWave());
    // A failed wave fails whoever waits for it, once; the chain itself goes on.
    this.#wave = wave.catch(() => {});
    return wave;
  }

  async #publishWave(): Promise<void> {
    const ready = this.#takeReady();
    if (ready.length === 0) return;
    const result = await publish(this.#mirror, ready, { signal: this.#signal });
    for (const path of [...result.published, ...result.already]) {
      this.#visible.add(path);
      const leftover = this.#leftovers.get(path);
      if (leftover !== undefined) await rm(leftover, { force: true });
      this.#leftovers.delete(path);
    }
    this.publishedCount += result.published.length;
    for (const { path, reason } of result.refused) {
      this.#refused.push({ storePath: path, kind: 'damage', detail: reason, wantedBy: undefined });
    }
  }

  /** Everything whose references are visible, or waiting and ready themselves. */
  #takeReady(): PublishCandidate[] {
    const held = new Set<StorePath>();
    let before: number;
    do {
      before = held.size;
      for (const [path, { info }] of this.#waiting) {
        if (held.has(path)) continue;
        const lacks = (reference: StorePath) =>
          reference !== path && !this.#visible.has(reference) && (held.has(reference) || !this.#waiting.has(reference));
        if (info.references.some(lacks)) held.add(path);
      }
    } while (held.size > before);
    const ready = [...this.#waiting.values()].filter(({ info }) => !held.has(info.storePath));
    for (const { info } of ready) this.#waiting.delete(info.storePath);
    return ready;
  }
}
