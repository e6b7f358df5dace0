// What a benchmark is: paired runs of ours and a peer's, and what the ratio of their medians ought to be.

/** Every file bench/NAME.ts exports one of these as `benchmark`. */
export type Benchmark = (context: BenchmarkContext) => Promise<Comparison[]>;

export interface BenchmarkContext {
  /** How many runs of each; a peer that takes minutes runs once. */
  readonly runs: number;
  readonly note: (text: string) => void;
}

export interface Comparison {
  /** What was done, under which circumstances. */
  readonly what: string;
  /** Of the figures, which are seconds unless said otherwise. */
  readonly unit?: 'MB' | undefined;
  readonly ours: Timings;
  readonly peer: Timings;
  /** A bound on median(ours) / median(peer), or on its inverse. None: for information. */
  readonly goal?: { readonly atMostTimes: number } | { readonly timesFaster: number } | undefined;
}

export interface Timings {
  readonly name: string;
  readonly seconds: readonly number[];
}

export interface Job {
  /** Not measured. */
  readonly prepare?: () => Promise<void>;
  readonly run: () => Promise<unknown>;
}

/** Runs both in turn, so that what else the machine does meets both alike. */
export async function runPaired(
  runs: number,
  ours: Job,
  peer: Job,
): Promise<{ ours: readonly number[]; peer: readonly number[] }> {
  const seconds = { ours: [] as number[], peer: [] as number[] };
  for (let index = 0; index < runs; index += 1) {
    const order = index % 2 === 0 ? (['ours', 'peer'] as const) : (['peer', 'ours'] as const);
    for (const which of order) seconds[which].push(await timed(which === 'ours' ? ours : peer));
  }
  return seconds;
}

export async function timed(job: Job): Promise<number> {
  await job.prepare?.();
  const started = performance.now();
  await job.run();
  return (performance.now() - started) / 1000;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? upper)) / 2;
}
