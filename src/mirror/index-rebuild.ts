import { hashPartOf, storePathFromBaseName } from '../nix/store-path.ts';
import { type NoteOptions, noteFlatFiles } from './hash-flat-files.ts';
import type { IndexTotals } from './index.ts';
import type { Mirror } from './mirror.ts';
import { type AddressCandidate, mayNameAddress, noteAddresses } from './note-addresses.ts';

/**
 * Makes everything anew that is derived from the files of a mirror opened for writing: reads every narinfo into a fresh index, and every flat
 * output for its hashes. Says what the index holds then.
 */
export async function rebuildIndex(mirror: Mirror, options: NoteOptions = {}): Promise<IndexTotals> {
  await mirror.index.rebuild();
  (await mirror.flatFiles()).clear();
  const flat = await Array.fromAsync(mirror.index.flatOutputs());
  options.onProgress?.({ type: 'phase', phase: 'hash sources', totalItems: flat.length });
  await noteFlatFiles(mirror, flat, options);
  await noteAddresses(mirror, await listFetches(mirror), options.signal);
  return mirror.index.totals();
}

async function listFetches(mirror: Mirror): Promise<AddressCandidate[]> {
  const names = await Array.fromAsync(mirror.index.names());
  const fetches: AddressCandidate[] = [];
  for (const { baseName } of names) {
    if (!baseName.endsWith('.drv')) continue;
    const hashPart = hashPartOf(storePathFromBaseName(baseName, mirror.storeDir));
    const path = await mirror.index.get(hashPart);
    const references = await mirror.index.references(hashPart);
    if (path !== undefined && mayNameAddress({ ...path, references })) fetches.push(path);
  }
  return fetches;
}
