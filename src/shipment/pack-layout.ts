import { join } from 'node:path';
import { assignDiscs, type DiscLoad, findCuts } from './disc-layout.ts';
import { discFolders, VOLUMES_FOLDER, volumeNames } from './format.ts';
import { packMembers, volumeSizesOf } from './pack-members.ts';
import type { PackPlan } from './pack-plan.ts';

/** Which folders a shipment consists of, and which volume goes where. All names are relative to the shipment's own folder. */
export interface PackLayout {
  /** That folder itself, '.'; or those of the discs, in their order. */
  readonly folders: readonly string[];
  readonly volumes: readonly PlannedVolume[];
}

export interface PlannedVolume {
  readonly name: string;
  readonly sizeBytes: number;
  /** From 1 on; absent where the shipment is one folder. */
  readonly disc?: number;
  readonly file: string;
}

/** Lays the volumes out: in one folder, or on as many discs as it takes. Throws `usage` when a disc cannot take what it must. */
export function layOut(
  plan: PackPlan,
  volumeSizeBytes: number,
  sequence: number,
  load: DiscLoad | undefined,
): PackLayout {
  const sizes = volumeSizesOf(plan, volumeSizeBytes);
  const names = volumeNames(sequence, sizes.length);
  if (load === undefined) {
    const volumes = sizes.map((sizeBytes, index) => {
      const name = names[index] ?? '';
      return { name, sizeBytes, file: join(VOLUMES_FOLDER, name) };
    });
    return { folders: ['.'], volumes };
  }
  const discs = assignDiscs(sizes, findCuts(packMembers(plan, volumeSizeBytes), sizes.length, volumeSizeBytes), load);
  const folders = discFolders(discs.at(-1) ?? 1);
  const volumes = sizes.map((sizeBytes, index) => {
    const [name = '', disc = 1] = [names[index], discs[index]];
    return { name, sizeBytes, disc, file: join(folders[disc - 1] ?? '.', VOLUMES_FOLDER, name) };
  });
  return { folders, volumes };
}
