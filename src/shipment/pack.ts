import { join } from 'node:path';
import { formatBytes } from '../base/amounts.ts';
import { NixferryError } from '../base/errors.ts';
import { freeBytes } from '../base/files.ts';
import { ignoreProgress, type OnProgress } from '../base/progress.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { volumeSizeForDiscs } from './disc-layout.ts';
import { checkSiteName, checkVolumeSize, INVENTORY_FILE, TOOLS_FOLDER, VOLUME_BYTES_DEFAULT } from './format.ts';
import type { RootLine } from './inventory.ts';
import { writeInventory } from './inventory-file.ts';
import type { Manifest, ManifestBasis, ManifestRoot } from './manifest.ts';
import { NO_BASIS, type PackBasis } from './pack-basis.ts';
import { inventoryRecords, rootLines } from './pack-inventory.ts';
import { layOut } from './pack-layout.ts';
import { makeManifest } from './pack-manifest.ts';
import { volumeSizesOf } from './pack-members.ts';
import { type PackedRoot, type PackPlan, planPack } from './pack-plan.ts';
import { findRehearsals, type OutdatedRehearsal } from './pack-rehearsals.ts';
import { finishSealed, seal } from './pack-seal.ts';
import { openPackTarget, type PackTarget } from './pack-target.ts';
import { writeVolumes } from './pack-volumes.ts';
import { type Tools, writeTools } from './tools.ts';

export interface PackOptions {
  /** Open for writing: it signs, and remembers what was sent. */
  readonly mirror: Mirror;
  readonly roots: readonly PackedRoot[];
  /** The folder, on the medium as a rule, in which the shipment's own folder is made. */
  readonly to: string;
  readonly site: string;
  /** What the site is taken to have, as `chooseBasis` tells; by default nothing, and everything is sent. */
  readonly basis?: PackBasis | undefined;
  /** Default 512 MiB, or a part of a disc. */
  readonly volumeSizeBytes?: number | undefined;
  /** What a disc holds, for a shipment that is laid out on discs. */
  readonly discBytes?: number | undefined;
  /** Nixferry itself, to be carried along; none where the other side has it. */
  readonly tools?: Tools | undefined;
  /** The script that installs Nix from the medium, where a root is a Nix. */
  readonly installer?: Buffer | undefined;
  /** Program and version, for people. */
  readonly generator: string;
  /** For people: nothing is decided by it. */
  readonly created: Date;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface PackResult {
  readonly folder: string;
  /** The folders in it that hold everything: '.', or one for each disc. */
  readonly folders: readonly string[];
  readonly manifest: Manifest;
  /** In hex; names the shipment beyond doubt. */
  readonly manifestSha256: string;
  /** Volumes that an earlier, interrupted attempt had written and that were only read back this time. */
  readonly reusedVolumes: number;
  /** Roots that were rehearsed before they became what was packed; the log does not go along. */
  readonly outdatedRehearsals: readonly OutdatedRehearsal[];
}

/**
 * Writes a shipment of the roots for a site and reads it back. The manifest is written last: a folder without one is no shipment, and the
 * same call goes on with it. Throws `usage`, `upstream-incomplete` (a root is not complete), `damage` (of the mirror, or of the medium),
 * `target-occupied`, `no-space`.
 */
export async function packShipment(options: PackOptions): Promise<PackResult> {
  const { mirror, roots, basis = NO_BASIS, signal, onProgress = ignoreProgress } = options;
  const site = checkSiteName(options.site);
  if (options.volumeSizeBytes !== undefined) checkVolumeSize(options.volumeSizeBytes);
  if (roots.length === 0) {
    throw new NixferryError('usage', `the mirror ${mirror.directory} has no roots to pack`, {
      hint: 'collect something first: nixferry collect ROOT…',
    });
  }
  const plan = await planPack(mirror, roots, onProgress, signal, basis);
  const lines = rootLines(plan);
  const rehearsals = await findRehearsals(mirror, lines);
  const sealed = await finishSealed(mirror, options.to, site, signal);
  if (sealed !== undefined && isSameOrder(sealed.manifest, lines, basis)) {
    return { ...sealed, reusedVolumes: sealed.manifest.volumes.length, outdatedRehearsals: rehearsals.outdated };
  }
  const volumeSizeBytes = checkVolumeSize(options.volumeSizeBytes ?? usualVolumeSize(plan, options.discBytes));
  const target = await openPackTarget(mirror, options.to, site);
  const { folder } = target;
  await checkSpace(target, plan, volumeSizeBytes, options);
  const inventory = await writeInventory(
    join(folder, INVENTORY_FILE),
    inventoryRecords(mirror, plan, lines, volumeSizeBytes),
    signal,
  );
  const tools = options.tools?.files ?? [];
  const { installer } = options;
  const toolsBytes = [
    ...tools.map(({ sizeBytes }) => sizeBytes),
    ...(installer === undefined ? [] : [installer.length]),
    ...rehearsals.packed.map(({ log }) => log.length),
  ];
  const { discBytes } = options;
  const load = discBytes === undefined ? undefined : { discBytes, inventoryBytes: inventory.sizeBytes, toolsBytes };
  const layout = layOut(plan, volumeSizeBytes, target.sequence, load);
  const written = await writeVolumes({ mirror, plan, target, layout, volumeSizeBytes, inventory, onProgress, signal });
  const [first = '.'] = layout.folders;
  if (options.tools !== undefined) await writeTools(options.tools, join(folder, first, TOOLS_FOLDER), signal);
  const manifest = makeManifest({
    ...options,
    ...target,
    site,
    plan,
    lines,
    inventory,
    volumes: written.volumes,
    tools,
    rehearsals: rehearsals.packed,
  });
  const result = await seal({ mirror, target, lines, manifest, installer, rehearsals: rehearsals.packed, signal });
  return { ...result, reusedVolumes: written.reused, outdatedRehearsals: rehearsals.outdated };
}

/** Beyond volumes and inventory: manifest, read-me, folders, and what a file system takes for itself. */
const SPARE_BYTES = 4 * 1024 * 1024;
const INVENTORY_BYTES_PER_PATH = 1024;

function usualVolumeSize(plan: PackPlan, discBytes: number | undefined): number {
  if (discBytes === undefined) return VOLUME_BYTES_DEFAULT;
  return volumeSizeForDiscs(discBytes, sum(volumeSizesOf(plan, VOLUME_BYTES_DEFAULT)));
}

async function checkSpace(
  { folder, journal }: PackTarget,
  plan: PackPlan,
  volumeSizeBytes: number,
  { tools, discBytes }: PackOptions,
): Promise<void> {
  const volumesBytes = sum(volumeSizesOf(plan, volumeSizeBytes));
  const writtenBytes = sum(journal.volumes.map(({ sizeBytes }) => sizeBytes));
  const toolsBytes = sum((tools?.files ?? []).map(({ sizeBytes }) => sizeBytes));
  const folders = discBytes === undefined ? 1 : 1 + Math.ceil((volumesBytes + toolsBytes) / discBytes);
  const lineCount = plan.paths.length + plan.needs.length;
  const perFolderBytes = lineCount * INVENTORY_BYTES_PER_PATH + SPARE_BYTES;
  const neededBytes = volumesBytes - writtenBytes + toolsBytes + folders * perFolderBytes;
  const available = await freeBytes(folder);
  if (neededBytes <= available) return;
  throw new NixferryError(
    'no-space',
    `${folder} needs ${formatBytes(neededBytes)}; ${formatBytes(available)} are free there`,
    { hint: 'take a larger medium, or name fewer roots; then type the command again' },
  );
}

/** Whether a shipment is what the same command would write again. */
function isSameOrder(manifest: Manifest, lines: readonly RootLine[], basis: PackBasis): boolean {
  return orderText(manifest.roots, manifest.basis, manifest.lost) === orderText(lines, basis.stated, basis.lost);
}

function orderText(roots: readonly ManifestRoot[], basis: ManifestBasis, lost: readonly number[]): string {
  return JSON.stringify([basis, lost, roots.map(({ name, scope, digest, asOf }) => [name, scope, digest, asOf])]);
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
