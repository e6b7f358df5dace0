import { existsSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { NixferryError } from '../base/errors.ts';
import { readFileIfExists } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import { channelPointerName } from '../mirror/channels.ts';
import { readEvaluationInputs } from '../mirror/evaluation-inputs.ts';
import { findFlatFiles } from '../mirror/flat-files.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { type Miss, openMisses } from '../mirror/misses.ts';
import { REPOSITORY_POINTER } from '../mirror/repositories.ts';
import { repositoryFile } from '../mirror/repository-address.ts';
import { listServedFlakes } from '../mirror/served-flakes.ts';
import {
  baseNameOf,
  type Hash,
  type HashPart,
  NixFormatError,
  parseDerivation,
  type StorePath,
  type StorePathBaseName,
  storePathFromBaseName,
} from '../nix/index.ts';
import type { WantedDerivation } from './want-list.ts';

/** What clients asked for in vain and still could not have. What has come since is forgotten. Undefined where no server ever noted anything. */
export async function gatherMisses(mirror: Mirror): Promise<readonly Miss[] | undefined> {
  if (!existsSync(mirror.layout.missesFile)) return undefined;
  const table = openMisses(mirror.layout.missesFile);
  try {
    const wanted: Miss[] = [];
    const fulfilled: Miss[] = [];
    const flakes = listServedFlakes(await readEvaluationInputs(mirror, mirror.storeDir)).byName;
    for (const miss of table.list()) ((await isHere(mirror, flakes, miss)) ? fulfilled : wanted).push(miss);
    table.remove(fulfilled);
    return wanted;
  } finally {
    table.close();
  }
}

async function isHere(mirror: Mirror, flakes: ReadonlyMap<string, unknown>, { kind, name }: Miss): Promise<boolean> {
  switch (kind) {
    case 'narinfo':
      return mirror.hasPath(name as HashPart);
    case 'source':
      return findFlatFiles(mirror.layout.flatFilesFile, name as Hash).length > 0;
    case 'channel':
      return (await mirror.storage.stat(channelPointerName(name))) !== undefined;
    case 'repository':
      return (await mirror.storage.stat(repositoryFile(`${name}.git`, REPOSITORY_POINTER))) !== undefined;
    case 'flake':
      return flakes.has(name);
  }
}

export interface GatheredDerivations {
  readonly targets: readonly StorePathBaseName[];
  readonly derivations: readonly WantedDerivation[];
}

/**
 * Reads `.drv` files and all that these are built from, which lie beside them: in a store, or in a folder of copies. One that is not there is left out, unless it is a
 * target itself. Throws `bad-root` for what is no derivation, and when there are too many.
 */
export async function gatherDerivations(
  files: readonly string[],
  storeDir: string,
  signal: AbortSignal,
): Promise<GatheredDerivations> {
  const found = new Map<StorePathBaseName, WantedDerivation | undefined>();
  const targets: StorePathBaseName[] = [];
  let sizeBytes = 0;
  for (const file of files) {
    const folder = dirname(resolve(file));
    const target = nameOfDerivation(file, storeDir);
    targets.push(target);
    const waiting = [target];
    for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
      signal.throwIfAborted();
      if (found.get(name) !== undefined) continue;
      const bytes = await readFileIfExists(join(folder, name), LIMITS.derivationBytes);
      if (bytes === undefined && name === target) throw noDerivation(file, 'it cannot be read');
      found.set(name, bytes === undefined ? undefined : { path: name, bytes });
      sizeBytes += bytes?.length ?? 0;
      if (found.size > LIMITS.wantDerivations || sizeBytes > LIMITS.wantDerivationsBytes / 2) {
        throw noDerivation(file, 'it is built from more derivations than a want list holds');
      }
      if (bytes !== undefined) waiting.push(...inputsOf(bytes, storeDir, join(folder, name)));
    }
  }
  const derivations = [...found.values()].filter((one) => one !== undefined);
  return { targets: [...new Set(targets)], derivations: derivations.toSorted((a, b) => (a.path < b.path ? -1 : 1)) };
}

function inputsOf(bytes: Buffer, storeDir: string, file: string): StorePathBaseName[] {
  try {
    return [...parseDerivation(bytes, storeDir).inputDerivations.keys()].map((path: StorePath) => baseNameOf(path));
  } catch (error) {
    if (error instanceof NixFormatError) throw noDerivation(file, error.message);
    throw error;
  }
}

function nameOfDerivation(file: string, storeDir: string): StorePathBaseName {
  try {
    const path = storePathFromBaseName(basename(file), storeDir);
    if (path.endsWith('.drv')) return baseNameOf(path);
  } catch (error) {
    if (!(error instanceof NixFormatError)) throw error;
  }
  throw noDerivation(file, 'its name is not that of a derivation in a store');
}

function noDerivation(file: string, why: string): NixferryError {
  return new NixferryError('bad-root', `${file}: ${why}`, {
    hint: 'name the .drv file that Nix could not build, as it stands in the store; or a copy, with copies of what nix-store --query --requisites names beside it',
  });
}
