// One file per codec or concern. All decoders are bounded in output, refuse truncated input and trailing bytes, and
// throw NixferryError `damage` for bad data; errors of the source itself come through unchanged.

/** The compressions that Nix has put NARs into, by the names that stand in a narinfo. */
export type Compression = 'none' | 'xz' | 'zstd' | 'bzip2' | 'gzip' | 'br';

/** The label of a narinfo's `Compression:` field; undefined when it is none that we can read. An empty one means bzip2, as in Nix. */
export function asCompression(label: string): Compression | undefined {
  return LABELS.get(label);
}

/** What follows `.nar` in a file name. Nix itself gives gzip no suffix; we do, so that a file says what it is. */
export function compressionSuffix(compression: Compression): string {
  return SUFFIXES[compression];
}

const SUFFIXES: Readonly<Record<Compression, string>> = {
  none: '',
  xz: '.xz',
  zstd: '.zst',
  bzip2: '.bz2',
  gzip: '.gz',
  br: '.br',
};

const LABELS: ReadonlyMap<string, Compression> = new Map<string, Compression>([
  ['', 'bzip2'],
  ['none', 'none'],
  ['identity', 'none'],
  ['xz', 'xz'],
  ['zstd', 'zstd'],
  ['bzip2', 'bzip2'],
  ['gzip', 'gzip'],
  ['br', 'br'],
]);
