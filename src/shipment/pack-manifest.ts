import { hash } from 'node:crypto';
import type { Mirror } from '../mirror/mirror.ts';
import { formatPublicKey } from '../nix/index.ts';
import { FORMAT, INSTALLER_FILE, INVENTORY_FILE } from './format.ts';
import type { RootLine } from './inventory.ts';
import type { InventorySummary } from './inventory-file.ts';
import type { Manifest, ManifestRoot, ManifestVolume } from './manifest.ts';
import { NO_BASIS, type PackBasis } from './pack-basis.ts';
import type { PackPlan } from './pack-plan.ts';
import type { PackedRehearsal } from './pack-rehearsals.ts';
import type { ToolFile } from './tools.ts';

export interface ManifestParts {
  readonly mirror: Mirror;
  readonly plan: PackPlan;
  readonly lines: readonly RootLine[];
  readonly site: string;
  readonly sequence: number;
  readonly previous: string | null;
  /** Default: nothing. */
  readonly basis?: PackBasis | undefined;
  readonly created: Date;
  readonly generator: string;
  readonly inventory: InventorySummary;
  readonly volumes: readonly ManifestVolume[];
  readonly tools?: readonly ToolFile[];
  /** The script that installs Nix, as it is written. */
  readonly installer?: Buffer | undefined;
  readonly rehearsals?: readonly PackedRehearsal[];
}

/** Puts together what is signed of a shipment. */
export function makeManifest(parts: ManifestParts): Manifest {
  const { mirror, plan, lines, volumes, basis = NO_BASIS } = parts;
  const nars = plan.paths.filter((path) => !path.isNarShared);
  return {
    format: FORMAT,
    minReader: FORMAT,
    site: parts.site,
    sender: mirror.publicKey.name,
    senderKey: formatPublicKey(mirror.publicKey),
    sequence: parts.sequence,
    previous: parts.previous,
    basis: basis.stated,
    lost: [...basis.lost],
    receiptCounter: basis.receiptCounter,
    storeDir: mirror.storeDir,
    created: parts.created.toISOString(),
    generator: parts.generator,
    roots: lines.map(manifestRoot),
    totals: {
      pathCount: plan.paths.length,
      needCount: plan.needs.length,
      narCount: nars.length,
      narSizeBytes: plan.paths.reduce((total, path) => total + path.narSizeBytes, 0),
      narFileSizeBytes: nars.reduce((total, path) => total + path.nar.sizeBytes, 0),
      volumesSizeBytes: volumes.reduce((total, volume) => total + volume.sizeBytes, 0),
    },
    inventory: { name: INVENTORY_FILE, ...parts.inventory },
    volumes: [...volumes],
    tools: [...(parts.tools ?? [])],
    ...installerOf(parts.installer),
    ...rehearsalsOf(parts.rehearsals ?? []),
  };
}

function installerOf(script: Buffer | undefined): Pick<Manifest, 'installer'> {
  if (script === undefined) return {};
  return { installer: { name: INSTALLER_FILE, sizeBytes: script.length, sha256: hash('sha256', script) } };
}

function rehearsalsOf(rehearsals: readonly PackedRehearsal[]): Pick<Manifest, 'rehearsals'> {
  return rehearsals.length === 0 ? {} : { rehearsals: rehearsals.map(({ stated }) => stated) };
}

function manifestRoot(line: RootLine): ManifestRoot {
  const { name, request, scope, complete, pathCount, narSizeBytes, digest, asOf } = line;
  const root = { name, request, scope, complete, pathCount, narSizeBytes, digest };
  return asOf === undefined ? root : { ...root, asOf };
}
