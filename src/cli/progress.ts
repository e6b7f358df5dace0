import { formatBytes, formatNumber } from '../base/amounts.ts';
import { printable } from '../base/printable.ts';
import type { ProgressEvent } from '../base/progress.ts';
import { formatDuration } from './format.ts';

export interface Progress {
  on(event: ProgressEvent): void;
  /** Takes the bar off the terminal, so that other text can be written. */
  clear(): void;
}

export interface ProgressOptions {
  readonly stream: NodeJS.WritableStream & { readonly columns?: number };
  /** A bar that is redrawn, a plain line now and then, or nothing. */
  readonly style: 'bar' | 'lines' | 'none';
  /** Milliseconds, monotonic. */
  readonly now?: () => number;
}

interface Phase {
  readonly name: string;
  readonly startedMs: number;
  totalItems: number | undefined;
  totalBytes: number | undefined;
  items: number;
  bytes: number;
  shownMs: number;
}

const REDRAW_MS = 100;
const LINE_MS = 5000;
const BAR_CELLS = 24;

/** Shows progress events: bytes, rate and time left of the current phase. */
export function createProgress(options: ProgressOptions): Progress {
  if (options.style === 'none') return { on: () => {}, clear: () => {} };
  const now = options.now ?? (() => performance.now());
  const intervalMs = options.style === 'bar' ? REDRAW_MS : LINE_MS;
  let phase: Phase | undefined;
  let drawn = false;

  const clear = () => {
    if (drawn) options.stream.write('\r\u001B[K');
    drawn = false;
  };
  const show = (current: Phase) => {
    current.shownMs = now();
    const seconds = (now() - current.startedMs) / 1000;
    if (options.style === 'lines') {
      options.stream.write(`${describe(current, seconds)}\n`);
      return;
    }
    const width = Math.max(20, (options.stream.columns ?? 80) - 1);
    options.stream.write(`\r\u001B[K${`${bar(current)}${describe(current, seconds)}`.slice(0, width)}`);
    drawn = true;
  };
  const finishPhase = () => {
    if (phase === undefined) return;
    clear();
    if (phase.items > 0 || phase.bytes > 0) {
      options.stream.write(`${summarize(phase, (now() - phase.startedMs) / 1000)}\n`);
    }
    phase = undefined;
  };

  return {
    on(event) {
      if (event.type === 'phase') {
        finishPhase();
        if (event.phase === '') return;
        phase = {
          name: event.phase,
          startedMs: now(),
          totalItems: event.totalItems,
          totalBytes: event.totalBytes,
          items: 0,
          bytes: 0,
          shownMs: now(),
        };
      } else if (event.type === 'notice') {
        clear();
        options.stream.write(`${printable(event.message)}\n`);
      } else if (phase !== undefined) {
        update(phase, event);
        if (now() - phase.shownMs >= intervalMs) show(phase);
      }
    },
    clear,
  };
}

function update(phase: Phase, event: Extract<ProgressEvent, { type: 'advance' | 'totals' }>): void {
  if (event.type === 'totals') {
    phase.totalItems = event.totalItems ?? phase.totalItems;
    phase.totalBytes = event.totalBytes ?? phase.totalBytes;
  } else {
    phase.items += event.items ?? 0;
    phase.bytes += event.bytes ?? 0;
  }
}

function fractionDone(phase: Phase): number | undefined {
  if (phase.totalBytes !== undefined && phase.totalBytes > 0) return Math.min(1, phase.bytes / phase.totalBytes);
  if (phase.totalItems !== undefined && phase.totalItems > 0) return Math.min(1, phase.items / phase.totalItems);
  return undefined;
}

function bar(phase: Phase): string {
  const fraction = fractionDone(phase);
  if (fraction === undefined) return '';
  const full = Math.round(fraction * BAR_CELLS);
  return `[${'#'.repeat(full)}${'.'.repeat(BAR_CELLS - full)}] ${String(Math.floor(fraction * 100)).padStart(3)} %  `;
}

function describe(phase: Phase, seconds: number): string {
  const parts = [phase.name, amount(phase.items, phase.totalItems)];
  if (phase.bytes > 0 && seconds > 0) {
    const total = phase.totalBytes === undefined ? '' : ` of ${formatBytes(phase.totalBytes)}`;
    parts.push(`${formatBytes(phase.bytes)}${total}`, `${formatBytes(phase.bytes / seconds)}/s`);
  }
  const fraction = fractionDone(phase);
  if (fraction !== undefined && fraction > 0.01 && seconds > 1) {
    parts.push(`${formatDuration((seconds * (1 - fraction)) / fraction)} left`);
  }
  return parts.filter((part) => part !== '').join('  ');
}

function summarize(phase: Phase, seconds: number): string {
  const bytes = phase.bytes > 0 ? `  ${formatBytes(phase.bytes)}` : '';
  const rate = phase.bytes > 0 && seconds > 0 ? `  ${formatBytes(phase.bytes / seconds)}/s` : '';
  const items = phase.items > 0 ? `  ${formatNumber(phase.items)}` : '';
  return `${phase.name}${items}${bytes}  in ${formatDuration(seconds)}${rate}`;
}

function amount(items: number, total: number | undefined): string {
  if (total !== undefined) return `${formatNumber(items)} of ${formatNumber(total)}`;
  return items > 0 ? formatNumber(items) : '';
}
