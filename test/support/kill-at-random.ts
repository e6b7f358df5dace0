import { join } from 'node:path';
import { repositoryRoot } from './nixferry.ts';
import type { Random } from './random.ts';
import { type RunResult, start, toolEnvironment } from './run.ts';

/** A command of Nixferry that works on a state of its own, from the beginning to the end. */
export interface Killable {
  readonly args: readonly string[];
  /** Looks at what the killed, or finished, process left behind. True when the work was done before the kill came. */
  readonly check: () => Promise<boolean>;
}

export interface KillReport {
  readonly kills: number;
  /** How often the work was begun anew, because it was done. */
  readonly rounds: number;
}

/**
 * Runs a command again and again, killed without warning at random moments, until it has been killed `kills` times; whenever it ends by itself before, it
 * must have ended well, `finished` looks at the result, and `begin` makes a new state. The last round is never killed.
 */
export async function killAtRandom(options: {
  readonly kills: number;
  readonly random: Random;
  readonly begin: (round: number) => Promise<Killable>;
  readonly finished: (round: number) => Promise<void>;
}): Promise<KillReport> {
  const { random, begin, finished } = options;
  let kills = 0;
  let usualMs: number | undefined;
  for (let round = 0; ; round++) {
    const work = await begin(round);
    for (;;) {
      // The first run tells how long the work takes. A kill before the program has started would tell nothing.
      const isLast = kills >= options.kills || usualMs === undefined;
      const waitMs = isLast ? undefined : START_MS + random.next() * ((usualMs ?? 0) - START_MS);
      const { result, tookMs } = await runAndKill(work.args, waitMs);
      const isDone = await work.check();
      if (result.signal === 'SIGKILL') {
        kills++;
        usualMs = (usualMs ?? 0) * LATER;
        if (isDone) break;
        continue;
      }
      usualMs = ((usualMs ?? tookMs) + tookMs) / 2;
      if (result.exitCode !== 0)
        throw new Error(`${work.args.join(' ')} ended with ${result.exitCode}: ${result.stderr}`);
      break;
    }
    await finished(round);
    if (kills >= options.kills) return { kills, rounds: round + 1 };
  }
}

/** Before this, nothing has happened but the start of Node. */
const START_MS = 120;
/** Kills that come too early, on a machine that has become slower, come later after a while. */
const LATER = 1.05;

async function runAndKill(
  args: readonly string[],
  waitMs: number | undefined,
): Promise<{ result: RunResult; tookMs: number }> {
  const started = performance.now();
  const running = start(process.execPath, [join(repositoryRoot, 'src/cli/main.ts'), ...args], {
    env: toolEnvironment({ NODE_COMPILE_CACHE: join(repositoryRoot, 'node_modules/.cache/nixferry-test') }),
  });
  const timer = waitMs === undefined ? undefined : setTimeout(() => running.child.kill('SIGKILL'), waitMs);
  const result = await running.done;
  clearTimeout(timer);
  return { result, tookMs: performance.now() - started };
}
