import { setTimeout as sleep } from 'node:timers/promises';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { openMirror } from '../mirror/mirror.ts';
import { publish } from '../mirror/publish.ts';
import { type NamedRealisation, publishRealisations } from '../mirror/publish-realisations.ts';
import { baseNameOf, hashPartOf, type StorePath, type StorePathBaseName } from '../nix/store-path.ts';
import type { HeldPath, HeldPaths } from './held-paths.ts';
import type { OnceLog } from './once-log.ts';
import type { WaitingRealisations } from './waiting-realisations.ts';

export interface PublisherOptions {
  readonly mirrorDirectory: string;
  readonly held: HeldPaths;
  readonly realisations: WaitingRealisations;
  readonly sign: boolean;
  /** Whether clients see the path in the mirror. */
  readonly isVisible: (path: StorePath | StorePathBaseName) => Promise<boolean>;
  readonly log: OnceLog;
  readonly signal: AbortSignal;
  readonly lockedRetryMs?: number | undefined;
}

/**
 * Makes held paths visible as soon as all that they refer to is, and realisations as soon as what they lead to is: by waves, one at a time. The mirror's lock is held for a wave and no longer, so that
 * collect, import and all others can write to a mirror that is served; while another one holds it, paths wait.
 */
export class Publisher {
  readonly #options: PublisherOptions;
  readonly #visible = new Set<StorePath>();
  /** When a reference was last seen to be missing; looked for again after a while, since others publish, too. */
  readonly #missingMs = new Map<StorePath, number>();
  #wanted = false;
  #running: Promise<void> | undefined;

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  /** There may be something to publish. */
  wake(): void {
    this.#wanted = true;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
      if (this.#wanted && !this.#options.signal.aborted) this.wake();
    });
  }

  /** Resolves when nothing is being written. */
  async idle(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal, log, lockedRetryMs = LIMITS.proxyLockedRetryMs } = this.#options;
    while (this.#wanted && !signal.aborted) {
      // Others come with the first: a wave costs about as much as a path.
      await pause(LIMITS.proxyPublishDelayMs, signal);
      this.#wanted = false;
      try {
        await this.#publishReady();
      } catch (error) {
        if (signal.aborted) return;
        this.#wanted = true;
        const isLocked = error instanceof NixferryError && error.code === 'mirror-locked';
        if (!isLocked) log.error('publish', explain(error), 'what was fetched could not be published; trying again');
        await pause(isLocked ? lockedRetryMs : LIMITS.proxyPublishRetryMs, signal);
      }
    }
  }

  async #publishReady(): Promise<void> {
    const { mirrorDirectory, held, sign, log, signal } = this.#options;
    const ready = (await this.#findReady()).slice(0, LIMITS.proxyWavePaths);
    const realisations = await this.#findRealisations(ready);
    if ((ready.length === 0 && realisations.length === 0) || signal.aborted) return;
    if (ready.length === LIMITS.proxyWavePaths) this.#wanted = true;
    await using mirror = await openMirror(mirrorDirectory, { access: 'write', command: 'nixferry serve --upstream' });
    const result = await publish(mirror, ready, { sign });
    const done = new Set([...result.published, ...result.already]);
    for (const { path, reason, missing } of result.refused) {
      // What was visible has been removed from the mirror meanwhile: it waits again.
      for (const reference of missing) this.#visible.delete(reference);
      if (missing.length > 0) continue;
      log.error(path, { path, reason }, 'a path that was fetched cannot be published');
      done.add(path);
    }
    for (const { info } of ready) {
      if (!done.has(info.storePath)) continue;
      this.#visible.add(info.storePath);
      await held.remove(info);
    }
    await publishRealisations(mirror, realisations, { sign });
    for (const { name, realisation } of realisations) {
      if (await mirror.hasPath(hashPartOf(realisation.outPath))) this.#options.realisations.remove(name);
    }
    if (this.#visible.size > LIMITS.proxyVisibleKnown) this.#visible.clear();
    if (this.#missingMs.size > LIMITS.proxyVisibleKnown) this.#missingMs.clear();
  }

  /** Those that lead to what is visible, or may be after this wave. */
  async #findRealisations(ready: readonly HeldPath[]): Promise<NamedRealisation[]> {
    const { realisations, isVisible } = this.#options;
    const soon = new Set(ready.map(({ info }) => baseNameOf(info.storePath)));
    const found: NamedRealisation[] = [];
    for (const one of realisations.all()) {
      const { outPath } = one.realisation;
      if (soon.has(outPath) || (await isVisible(outPath))) found.push(one);
    }
    return found;
  }

  /** What refers to nothing but visible paths and others that are ready; references in front. */
  async #findReady(): Promise<HeldPath[]> {
    const { held } = this.#options;
    const waiting = new Map(held.all().map((path) => [path.info.storePath, path]));
    const referrers = new Map<StorePath, StorePath[]>();
    const unmet = new Map<StorePath, number>();
    const ready: StorePath[] = [];
    for (const [storePath, { info }] of waiting) {
      let lacks = 0;
      for (const reference of new Set(info.references)) {
        if (reference === storePath || (await this.#sees(reference))) continue;
        lacks += 1;
        referrers.set(reference, [...(referrers.get(reference) ?? []), storePath]);
      }
      unmet.set(storePath, lacks);
      if (lacks === 0) ready.push(storePath);
    }
    for (let next = 0; next < ready.length; next++) {
      const path = ready[next];
      for (const referrer of path === undefined ? [] : (referrers.get(path) ?? [])) {
        const left = (unmet.get(referrer) ?? 0) - 1;
        unmet.set(referrer, left);
        if (left === 0) ready.push(referrer);
      }
    }
    return ready.flatMap((path) => waiting.get(path) ?? []);
  }

  async #sees(path: StorePath): Promise<boolean> {
    if (this.#visible.has(path)) return true;
    if (this.#options.held.get(path) !== undefined) return false;
    const nowMs = performance.now();
    const missingMs = this.#missingMs.get(path);
    if (missingMs !== undefined && nowMs - missingMs < LIMITS.proxyMirrorCheckMs / 2) return false;
    const visible = await this.#options.isVisible(path);
    if (visible) this.#visible.add(path);
    if (visible) this.#missingMs.delete(path);
    else this.#missingMs.set(path, nowMs);
    return visible;
  }
}

function explain(error: unknown): Record<string, unknown> {
  if (!(error instanceof NixferryError)) return { err: error };
  return {
    reason: error.message,
    next: error.code === 'no-space' ? 'free some room; it goes on by itself' : error.hint,
  };
}

async function pause(durationMs: number, signal: AbortSignal): Promise<void> {
  await sleep(durationMs, undefined, { signal }).catch(() => {});
}
