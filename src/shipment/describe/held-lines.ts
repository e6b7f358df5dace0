import type { InventoryRecord, RootLine } from '../inventory.ts';
import type { HeldPath } from './shipment-diff.ts';

/** A path of an inventory together with the roots that it belongs to, by their position. */
export interface HeldLine extends HeldPath {
  readonly roots: readonly number[];
}

/** What a site holds of a shipment's roots once it was imported: what the inventory carries, and what it needs from before. */
export async function* heldLines(
  records: AsyncIterable<InventoryRecord>,
  onRoot: (root: RootLine, position: number) => void = () => {},
): AsyncGenerator<HeldLine, void, undefined> {
  let roots = 0;
  for await (const record of records) {
    if (record.type === 'root') onRoot(record, roots++);
    else if (record.type === 'path') {
      const { path, deriver, narHash, narSizeBytes } = record;
      yield { path, deriver, narHash, narSizeBytes, roots: record.roots };
    }
  }
}

/** Whether two roots are versions of one: what was asked for, and how much of it. */
export function isSameRoot(
  a: { readonly request: string; readonly scope: string },
  b: { readonly request: string; readonly scope: string },
): boolean {
  return a.request === b.request && a.scope === b.scope;
}
