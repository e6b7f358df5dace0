import { NixferryError } from '../base/errors.ts';
import {
  type FileLine,
  fileMember,
  type InventoryRecord,
  type NeedLine,
  narInfoMember,
  narMember,
  type PathLine,
  type RootLine,
} from './inventory.ts';
import type { Manifest } from './manifest.ts';
import { type Place, StreamWalker } from './stream-layout.ts';
import type { TarMember } from './tar-header.ts';

/** A member of the stream and where in the stream its header begins. */
export interface WalkedMember {
  readonly member: TarMember;
  readonly position: number;
}

/** A line of the inventory together with the members of the stream that it stands for. */
export type WalkedLine =
  | { readonly type: 'root'; readonly line: RootLine }
  | { readonly type: 'need'; readonly line: NeedLine }
  | { readonly type: 'folder'; readonly at: WalkedMember }
  | { readonly type: 'file'; readonly line: FileLine; readonly at: WalkedMember }
  | {
      readonly type: 'path';
      readonly line: PathLine;
      readonly nar: WalkedMember;
      /** Whether the NAR is that of an earlier path, and `nar` that member. */
      readonly isNarShared: boolean;
      readonly narInfo: WalkedMember;
    };

/**
 * Goes through an inventory and through the stream at the same time: member by member the stream must be filled without a gap, from its
 * first byte to its end. Throws `damage` where volume and offset of a line say otherwise.
 */
export async function* walkInventory(
  records: AsyncIterable<InventoryRecord>,
  manifest: Manifest,
): AsyncGenerator<WalkedLine, void, undefined> {
  const walker = new StreamWalker(manifest.volumes.map(({ sizeBytes }) => sizeBytes));
  const nars = new Map<string, number>();
  const step = (member: TarMember, stated: Place | undefined): WalkedMember => {
    const position = walker.step(member);
    if (position === undefined) throw lie(`${member.name} lies beyond the end of the volumes`);
    const place = walker.contentsPlace(position, member);
    if (stated !== undefined && (stated.volume !== place.volume || stated.offset !== place.offset)) {
      throw lie(
        `${member.name} is said to be at byte ${stated.offset} of volume ${stated.volume}, which is not where it must be`,
      );
    }
    return { member, position };
  };
  for await (const record of records) {
    if (record.type === 'root') yield { type: 'root', line: record };
    else if (record.type === 'need') yield { type: 'need', line: record };
    else if (record.type === 'folder') {
      yield { type: 'folder', at: step({ name: record.name, kind: 'folder', sizeBytes: 0 }, undefined) };
    } else if (record.type === 'file') yield { type: 'file', line: record, at: step(fileMember(record), record) };
    else if (record.type === 'path') {
      const known = nars.get(record.nar.name);
      const nar =
        known === undefined ? step(narMember(record), record.nar) : { member: narMember(record), position: known };
      if (known === undefined) nars.set(record.nar.name, nar.position);
      const narInfo = step(narInfoMember(record), record.narInfo);
      yield { type: 'path', line: record, nar, isNarShared: known !== undefined, narInfo };
    }
  }
  if (!walker.isAtEnd()) throw lie('it does not fill the volumes');
}

/** The inventory, though signed, cannot be true. */
export function lie(what: string): NixferryError {
  return new NixferryError('damage', `the inventory contradicts itself or the manifest: ${what}`, {
    hint: 'the sender must pack the shipment anew; nothing was imported',
  });
}
