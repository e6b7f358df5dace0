import { readFileSync } from 'node:fs';

/**
 * The most memory that this process has had, in KiB. Not getrusage's ru_maxrss: that also counts what the process was before its exec, a
 * copy of whoever started it.
 */
export function ownPeakKiB(): number {
  return Number(/^VmHWM:\s*(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);
}
