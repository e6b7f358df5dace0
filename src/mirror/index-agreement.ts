import type { NarInfo } from '../nix/narinfo.ts';
import { type HashPart, hashPartOf } from '../nix/store-path.ts';
import type { IndexedPath } from './index.ts';
import type { Mirror } from './mirror.ts';

/** Whether the index says of every visible path what its narinfo says, and speaks of no other. */
export async function indexAgrees(
  mirror: Mirror,
  paths: readonly { readonly hashPart: HashPart; readonly visible: boolean; readonly info: NarInfo | undefined }[],
): Promise<boolean> {
  const visible = paths.filter((path) => path.visible && path.info !== undefined);
  const { paths: indexed } = await mirror.index.totals();
  if (indexed !== visible.length) return false;
  for (const { hashPart, info } of visible) {
    const row = await mirror.index.get(hashPart);
    if (row === undefined || info === undefined || !sameFacts(row, info)) return false;
    const references = await mirror.index.references(hashPart);
    if (references.join(' ') !== referencesOf(info).join(' ')) return false;
  }
  return true;
}

function sameFacts(row: IndexedPath, info: NarInfo): boolean {
  return (
    row.storePath === info.storePath &&
    row.url === info.url &&
    row.compression === info.compression &&
    row.fileHash === info.fileHash &&
    row.fileSizeBytes === info.fileSizeBytes &&
    row.narHash === info.narHash &&
    row.narSizeBytes === info.narSizeBytes &&
    row.deriver === info.deriver &&
    row.contentAddress === info.contentAddress
  );
}

function referencesOf(info: NarInfo): readonly HashPart[] {
  return [...new Set(info.references.map(hashPartOf))].toSorted();
}
