// Comparisons as a table for people and as JSON rows for the record.

import { appendFile, mkdir } from 'node:fs/promises';
import { availableParallelism, cpus } from 'node:os';
import path from 'node:path';
import { type Comparison, median, ratio, type Timings } from './benchmark.ts';

const HEADINGS = ['', 'ours', 'peer', 'ratio', 'goal', ''] as const;

export function formatComparisons(name: string, comparisons: readonly Comparison[]): string {
  const rows = [HEADINGS, ...comparisons.map(row)];
  const widths = HEADINGS.map((_, column) => Math.max(...rows.map((cells) => (cells[column] ?? '').length)));
  const lines = rows.map((cells) =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  return `\n${name} on ${machine()}; medians, in seconds where nothing else is said\n${lines.join('\n')}\n`;
}

/** One line a comparison, with every single timing. */
export async function recordComparisons(file: string, comparisons: readonly Comparison[]): Promise<void> {
  await mkdir(path.dirname(file), { recursive: true });
  const at = new Date().toISOString();
  const lines = comparisons.map((comparison) =>
    JSON.stringify({
      at,
      machine: machine(),
      what: comparison.what,
      ...(comparison.unit === undefined ? {} : { unit: comparison.unit }),
      ours: withMedian(comparison.ours),
      peer: withMedian(comparison.peer),
      ratio: rounded(ratio(comparison)),
      goal: comparison.goal ?? null,
    }),
  );
  await appendFile(file, `${lines.join('\n')}\n`);
}

function row(comparison: Comparison): readonly string[] {
  const { what, unit, ours, peer, goal } = comparison;
  const suffix = unit === undefined ? '' : ` ${unit}`;
  return [
    what,
    `${shown(median(ours.seconds))}${suffix} (${ours.name}, ${ours.seconds.length}×)`,
    `${shown(median(peer.seconds))}${suffix} (${peer.name}, ${peer.seconds.length}×)`,
    ratioText(comparison),
    goalText(comparison),
    goal === undefined ? '' : reached(comparison) ? 'reached' : 'MISSED',
  ];
}

function reached(comparison: Comparison): boolean {
  const { goal, ours } = comparison;
  if (goal === undefined) return true;
  if ('atMost' in goal) return median(ours.seconds) <= goal.atMost;
  if ('atMostTimes' in goal) return ratio(comparison) <= goal.atMostTimes;
  if ('atLeastTimes' in goal) return ratio(comparison) >= goal.atLeastTimes;
  return 1 / ratio(comparison) >= goal.timesFaster;
}

function goalText({ goal, unit }: Comparison): string {
  if (goal === undefined) return '';
  const as = unit === undefined ? 'long' : 'much';
  if ('atMost' in goal) return `≤ ${goal.atMost} ${unit ?? 's'}`;
  if ('atMostTimes' in goal) return `≤ ${goal.atMostTimes} times as ${as}`;
  if ('atLeastTimes' in goal) return `≥ ${goal.atLeastTimes} times as ${as}`;
  return `≥ ${goal.timesFaster} times faster`;
}

function ratioText(comparison: Comparison): string {
  const value = ratio(comparison);
  if (comparison.unit !== undefined) return `${value.toFixed(2)} times as much`;
  return value < 0.5 ? `${(1 / value).toFixed(1)} times faster` : `${value.toFixed(2)} times as long`;
}

function shown(figure: number): string {
  return figure >= 1000 ? figure.toFixed(0) : figure.toFixed(2);
}

function withMedian({ name, seconds }: Timings) {
  return { name, median: rounded(median(seconds)), seconds: seconds.map(rounded) };
}

function machine(): string {
  return `${cpus()[0]?.model ?? 'unknown processor'}, ${availableParallelism()} cores, Node ${process.versions.node}`;
}

function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}
