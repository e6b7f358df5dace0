import { mkdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { explainWriteError } from '../base/errors.ts';
import type { OnProgress } from '../base/progress.ts';
import type { Mirror } from '../mirror/mirror.ts';
import type { InventorySummary } from './inventory-file.ts';
import type { ManifestVolume } from './manifest.ts';
import type { PackLayout } from './pack-layout.ts';
import type { PackPlan } from './pack-plan.ts';
import { writeStream } from './pack-stream.ts';
import { type PackJournal, type PackTarget, writeJournal } from './pack-target.ts';
import { checkReadBack } from './read-back.ts';
import { VolumeWriter, type WrittenVolume } from './volume-writer.ts';

export interface VolumesWork {
  readonly mirror: Mirror;
  readonly plan: PackPlan;
  readonly target: PackTarget;
  readonly layout: PackLayout;
  readonly volumeSizeBytes: number;
  /** Of the shipment; it tells whether an earlier attempt was to write the very same. */
  readonly inventory: InventorySummary;
  readonly onProgress: OnProgress;
  readonly signal: AbortSignal | undefined;
}

/**
 * Writes all volumes but those that an earlier attempt has written and that still read back well; each is flushed and read back. Throws
 * `damage` (of the mirror, or of the medium) and `no-space`.
 */
export async function writeVolumes(work: VolumesWork): Promise<{ volumes: ManifestVolume[]; reused: number }> {
  const { mirror, plan, target, layout, volumeSizeBytes, onProgress, signal } = work;
  const { folder } = target;
  const journal = await readJournalAgain(work);
  const volumes = [...journal.volumes];
  const reused = volumes.length;
  onProgress({
    type: 'phase',
    phase: 'pack',
    totalItems: plan.paths.filter((path) => !path.isNarShared).length,
    totalBytes: layout.volumes.reduce((total, { sizeBytes }) => total + sizeBytes, 0),
  });
  await makeFolders(folder, layout);
  const onVolume = async (volume: WrittenVolume): Promise<void> => {
    volumes.push(volume);
    await writeJournal(folder, { ...journal, volumes });
  };
  await using writer = new VolumeWriter({
    folder,
    volumes: layout.volumes,
    finishedVolumes: reused,
    onVolume,
    signal,
  });
  await writeStream(mirror, plan, volumeSizeBytes, writer, onProgress, signal);
  await writer.finish();
  return { volumes: volumes.map(manifestVolume), reused };
}

function manifestVolume({ name, sizeBytes, sha256, disc }: WrittenVolume): ManifestVolume {
  return { name, sizeBytes, sha256, ...(disc === undefined ? {} : { disc }) };
}

async function makeFolders(folder: string, { folders, volumes }: PackLayout): Promise<void> {
  for (const name of new Set([...folders, ...volumes.map(({ file }) => dirname(file))])) {
    try {
      await mkdir(join(folder, name), { recursive: true });
    } catch (error) {
      throw explainWriteError(error, join(folder, name));
    }
  }
}

/** The journal of this attempt, with those volumes that are part of the very same shipment and still read back well. */
async function readJournalAgain({ target, layout, inventory, signal }: VolumesWork): Promise<PackJournal> {
  const { folder } = target;
  const volumes: WrittenVolume[] = [];
  const isSame = target.journal.inventorySha256 === inventory.sha256;
  for (const [index, volume] of (isSame ? target.journal.volumes : []).entries()) {
    const planned = layout.volumes[index];
    if (volume.file !== planned?.file || volume.sizeBytes !== planned.sizeBytes) break;
    try {
      await checkReadBack(join(folder, volume.file), volume, signal);
    } catch (error) {
      signal?.throwIfAborted();
      // Written anew; if the medium is to blame, that is found out then.
      if (error instanceof Error) break;
      throw error;
    }
    volumes.push(volume);
  }
  const kept = new Set(volumes.map(({ file }) => file));
  for (const { file } of target.journal.volumes) {
    if (!kept.has(file)) await rm(join(folder, file), { force: true });
  }
  const journal = { ...target.journal, inventorySha256: inventory.sha256, volumes };
  await writeJournal(folder, journal);
  return journal;
}
