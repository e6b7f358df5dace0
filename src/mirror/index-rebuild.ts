import type { IndexTotals } from './index.ts';
import type { Mirror } from './mirror.ts';

/** Reads every narinfo of a mirror opened for writing into a fresh index, and says what it holds then. */
export async function rebuildIndex(mirror: Mirror): Promise<IndexTotals> {
  await mirror.index.rebuild();
  return mirror.index.totals();
}
