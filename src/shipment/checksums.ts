export interface ChecksummedFile {
  /** Relative to the folder of the shipment. */
  readonly name: string;
  /** In hex. */
  readonly sha256: string;
}

/** SHA256SUMS as `sha256sum --check` of coreutils reads it. */
export function formatChecksums(files: readonly ChecksummedFile[]): string {
  return files.map(({ name, sha256 }) => `${sha256}  ${name}\n`).join('');
}
