import type { ProgressEvent } from '../base/progress.ts';

const INTERVAL_MS = 1000;

/**
 * Progress as JSON events: each phase and notice as it comes, and at most once a second a `progress` with what the phase has done so
 * far, so that a reader is not flooded.
 */
export function createTally(
  write: (type: string, fields: Record<string, unknown>) => void,
  now: () => number = () => performance.now(),
): { on(event: ProgressEvent): void } {
  let phase = '';
  let items = 0;
  let bytes = 0;
  let writtenMs = Number.NEGATIVE_INFINITY;
  return {
    on(event) {
      const { type, ...fields } = event;
      if (event.type !== 'advance') {
        if (event.type === 'phase') {
          phase = event.phase;
          items = 0;
          bytes = 0;
          writtenMs = now();
          if (phase === '') return;
        }
        write(type, fields);
        return;
      }
      items += event.items ?? 0;
      bytes += event.bytes ?? 0;
      if (now() - writtenMs < INTERVAL_MS) return;
      writtenMs = now();
      write('progress', { phase, items, bytes });
    },
  };
}
