import { type NoteOptions, noteFlatFiles } from './hash-flat-files.ts';
import type { IndexTotals } from './index.ts';
import type { Mirror } from './mirror.ts';

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
  return mirror.index.totals();
}
