// Amounts in words, the same wherever they are read: terminal, log, page and medium. Sizes are decimal, as on the label of a stick or a disc.

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'] as const;

/** `1536000` → `1.5 MB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : 1;
  return `${value.toFixed(digits)} ${UNITS[unit] ?? ''}`;
}

/** `12,345` */
export function formatNumber(value: number): string {
  return value.toLocaleString('en-US');
}

/** `1 path`, `400 paths`. */
export function formatCount(count: number, noun: string): string {
  return `${formatNumber(count)} ${formatNoun(count, noun)}`;
}

/** `path` for one, else `paths`. */
export function formatNoun(count: number, noun: string): string {
  return count === 1 ? noun : `${noun}s`;
}
