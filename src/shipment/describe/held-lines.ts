import type { InventoryRecord } from '../inventory.ts';
import type { HeldPath } from './shipment-diff.ts';

/** A path of an inventory together with the roots that it belongs to, by their position. */
export interface HeldLine extends HeldPath {
  readonly roots: readonly number[];
  /** It does not travel: the site has it from before. */
  readonly isNeed: boolean;
}

/** What a site holds of a shipment's roots once it was imported: what the inventory carries, and what it needs from before. */
export async function* heldLines(records: AsyncIterable<InventoryRecord>): AsyncGenerator<HeldLine, void, undefined> {
  for await (const record of records) {
    if (record.type !== 'path' && record.type !== 'need') continue;
    const { path, narHash, narSizeBytes, roots } = record;
    const isNeed = record.type === 'need';
    yield { path, deriver: isNeed ? undefined : record.deriver, narHash, narSizeBytes, roots, isNeed };
  }
}

/** A line without what only its inventory means. */
export function heldPath({ path, deriver, narHash, narSizeBytes }: HeldPath): HeldPath {
  return { path, deriver, narHash, narSizeBytes };
}

/** Whether two roots are versions of one: what was asked for, and how much of it. */
export function isSameRoot(
  a: { readonly request: string; readonly scope: string },
  b: { readonly request: string; readonly scope: string },
): boolean {
  return a.request === b.request && a.scope === b.scope;
}
