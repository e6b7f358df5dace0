import { lstatSync } from 'node:fs';
import { readFileIfExists } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import { planClient } from '../closure/client-plan.ts';
import { loadDerivationGraph } from '../closure/derivation-graph.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { hashPartOf, type StorePath, trustedSignature } from '../nix/index.ts';

/** What `check` would say of a target in the state that the room is in. */
export interface Forecast {
  readonly builds: ReadonlySet<StorePath>;
  /** What is missing, and for whom: the root first, the one that wants it last. */
  readonly missing: readonly { readonly path: StorePath; readonly chain: readonly StorePath[] }[];
}

export interface ForecastInputs {
  readonly mirror: Mirror;
  /** Hash parts of the paths that belong to the rehearsed roots: the room's cache has those of them that the mirror has. */
  readonly offered: ReadonlySet<string>;
  readonly drvPath: StorePath;
  readonly outputs: readonly string[];
  /** Where the file system outside has a path of the room. */
  readonly outside: (path: string) => string;
  readonly signal: AbortSignal;
}

/** Foretells, from the mirror's files and the `.drv` files in the room, what Nix will build for a target. */
export async function forecast(inputs: ForecastInputs): Promise<Forecast> {
  const { mirror, offered, drvPath, outputs, outside, signal } = inputs;
  const graph = await loadDerivationGraph({
    roots: [drvPath],
    read: (path) => readFileIfExists(outside(path), LIMITS.derivationBytes),
    storeDir: mirror.storeDir,
    signal,
  });
  const plan = await planClient({
    graph,
    targets: [{ drvPath, outputs }],
    isPresent: (path) => lstatSync(outside(path), { throwIfNoEntry: false }) !== undefined,
    async find(path) {
      const info = offered.has(hashPartOf(path)) ? await mirror.readNarInfo(hashPartOf(path)) : undefined;
      if (info?.storePath !== path) return undefined;
      const signatureCounts =
        info.contentAddress !== undefined || trustedSignature(info, [mirror.publicKey]) !== undefined;
      return { references: info.references, signatureCounts };
    },
    // What was collected is what the mirror should have: should one of these be gone, it is named, and not what it would be built into.
    isExpected: (path) => offered.has(hashPartOf(path)),
    signal,
  });
  return { builds: new Set(plan.builds), missing: plan.missing.map(({ path, chain }) => ({ path, chain })) };
}
