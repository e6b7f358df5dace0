import type { HeldFiles } from './held-files.ts';
import type { ManifestBasis } from './manifest.ts';
import type { HeldPaths } from './pack-plan.ts';

/** On what a shipment builds. */
export interface PackBasis {
  /** As the manifest states it. */
  readonly stated: ManifestBasis;
  /** The paths that the site is taken to have; they are not sent. */
  readonly held: HeldPaths;
  /** Likewise for small files of these paths; where it is not given, they are sent again. */
  readonly heldFiles?: HeldFiles;
  /** The shipments whose share is sent again, and nothing else. */
  readonly lost: readonly number[];
  /** The highest counter of a receipt of the site that was ever seen here. */
  readonly receiptCounter: number;
}

/** Everything is sent. */
export const NO_BASIS: PackBasis = { stated: null, held: new Map(), lost: [], receiptCounter: 0 };
