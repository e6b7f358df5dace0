import { z } from 'zod';
import { readFileIfExists } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import { type EvaluationLog, LOG_ARGUMENTS, readEvaluationLog } from './evaluation-log.ts';
import type { EvaluationStore } from './evaluation-store.ts';
import { type Complaints, runNix } from './nix-command.ts';

export interface EvaluateCall {
  /** Arguments of `nix eval`: what to evaluate, and what to do with it. */
  readonly args: readonly string[];
  readonly purpose: string;
  readonly workingDirectory: string;
  readonly signal?: AbortSignal | undefined;
}

/** The answer of one `nix eval --json`. */
export interface Evaluated {
  readonly json: Buffer;
  readonly log: Omit<EvaluationLog, keyof Complaints>;
  /** What the garbage collector of Nix held at the end; undefined where Nix does not say. */
  readonly heapBytes: number | undefined;
}

export const FEATURES = ['--extra-experimental-features', 'nix-command flakes'] as const;

/**
 * Evaluates in a process of its own, into `store`, or without one into the local store.
 * @throws NixferryError `nix-failed` with the text of Nix.
 */
export async function evaluateValue(
  store: EvaluationStore | undefined,
  call: EvaluateCall,
  verbosity: readonly string[] = [],
): Promise<Evaluated> {
  const { args, purpose, workingDirectory, signal } = call;
  let log = readEvaluationLog();
  const statistics = store?.newFile('statistics');
  const json = await runNix(
    'nix',
    [
      ...FEATURES,
      'eval',
      '--json',
      ...LOG_ARGUMENTS,
      ...verbosity,
      // What was cached would neither be read nor built, and so not be found.
      '--option',
      'eval-cache',
      'false',
      ...(store?.evaluateHere ?? []),
      ...args,
    ],
    {
      purpose,
      workingDirectory,
      signal,
      complaints: () => (log = readEvaluationLog()),
      environment: statistics === undefined ? {} : { NIX_SHOW_STATS: '1', NIX_SHOW_STATS_PATH: statistics },
    },
  );
  return { json, log, heapBytes: statistics === undefined ? undefined : await readHeapBytes(statistics) };
}

const statisticsSchema = z.object({ gc: z.object({ heapSize: z.number() }) });

async function readHeapBytes(file: string): Promise<number | undefined> {
  const bytes = await readFileIfExists(file, LIMITS.nixStatisticsBytes);
  if (bytes === undefined) return undefined;
  try {
    return statisticsSchema.safeParse(JSON.parse(bytes.toString('utf8'))).data?.gc.heapSize;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
