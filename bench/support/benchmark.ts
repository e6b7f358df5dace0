// What a benchmark is: paired runs of ours and a peer's, and what the ratio of their medians ought to be.

/** Every file bench/NAME.ts exports one of these as `benchmark`. */
export type Benchmark = (context: BenchmarkContext) => Promise<Comparison[]>;

export interface BenchmarkContext {
  /** How many runs of each; a peer that takes minutes runs once. */
  readonly runs: number;
  readonly note: (text: string) => void;
  /** Whether a part of the benchmark is to run, which may take minutes; all are, unless somebody works on one of them. */
  readonly wants: (part: string) => boolean;
}

export interface Comparison {
  /** What was done, under which circumstances. */
  readonly what: string;
  /** Of the figures, which are seconds unless said otherwise. */
  readonly unit?: 'MB' | 'MB/s' | 'requests/s' | 'ms' | 'µs' | undefined;
  readonly ours: Timings;
  readonly peer: Timings;
  /** Run by run beside each other: the ratio is the median of their ratios, not that of their medians. */
  readonly paired?: boolean | undefined;
  /** A bound on the ratio of ours to the peer's, on its inverse, or on ours alone. None: for information. */
  readonly goal?:
    | { readonly atMostTimes: number }
    | { readonly atLeastTimes: number }
    | { readonly timesFaster: number }
    | { readonly atMost: number }
    | undefined;
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

/** The ratio by which a comparison is judged. */
export function ratio({ ours, peer, paired }: Comparison): number {
  if (paired !== true) return median(ours.seconds) / median(peer.seconds);
  return median(ours.seconds.map((figure, index) => figure / (peer.seconds[index] ?? Number.NaN)));
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? upper)) / 2;
}
