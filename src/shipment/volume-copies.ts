import { NixferryError } from '../base/errors.ts';
import type { WalkedMember } from './inventory-walk.ts';
import type { MediumReader } from './medium-reader.ts';
import { tarMemberBytes } from './tar-header.ts';

/** A stretch of the stream. */
export interface Extent {
  readonly position: number;
  readonly sizeBytes: number;
}

export function extentOf(at: WalkedMember): Extent {
  return { position: at.position, sizeBytes: tarMemberBytes(at.member) };
}

/**
 * Reads something that lies in `extents` from the first copies of their volumes, then from the second ones, until one is good; at last from the one copy
 * of each volume that is good as a whole, for one volume may be good in one place and the next in another. Throws `damage` when none will do,
 * `VolumeMissing` when a volume is not there at all.
 */
export async function fromAnyCopy<Result>(
  reader: MediumReader,
  extents: readonly Extent[],
  read: (copy: number) => Promise<Result>,
): Promise<Result> {
  const copies = Math.max(...extents.map(({ position, sizeBytes }) => reader.copiesOf(position, sizeBytes)));
  for (let copy = 0; ; copy++) {
    try {
      return await read(copy);
    } catch (error) {
      if (!isDamage(error)) throw error;
      if (copy + 1 < copies) continue;
      if (copies > 1 && (await reader.preferGoodCopies(extents))) return read(0);
      throw error;
    }
  }
}

export function isDamage(error: unknown): error is NixferryError {
  return error instanceof NixferryError && error.code === 'damage';
}
