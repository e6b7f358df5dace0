// Random parts of a binary cache in which every path still has all that it refers to; Nix reads them as caches of their own.

import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import {
  formatNarInfo,
  formatRealisationPath,
  hashPartOf,
  type NarInfo,
  parseNarInfo,
  parseRealisation,
  parseRealisationPath,
  type RealisationKey,
  type StorePath,
  storePathFromBaseName,
} from '../../src/nix/index.ts';
import type { Random } from './random.ts';

export interface WholeCache {
  readonly directory: string;
  readonly infos: ReadonlyMap<StorePath, NarInfo>;
  /** By the name of their file. */
  readonly realisations: ReadonlyMap<string, StorePath>;
}

export interface CacheSubset {
  /** A `file://` binary cache. */
  readonly directory: string;
  readonly infos: ReadonlyMap<StorePath, NarInfo>;
  realisation(keys: readonly RealisationKey[]): StorePath | undefined;
}

export async function readWholeCache(directory: string): Promise<WholeCache> {
  const infos = new Map<StorePath, NarInfo>();
  for (const name of await readdir(directory)) {
    if (!name.endsWith('.narinfo')) continue;
    const info = parseNarInfo(await readFile(path.join(directory, name)), '/nix/store');
    infos.set(info.storePath, info);
  }
  const realisations = new Map<string, StorePath>();
  for (const name of await readdir(path.join(directory, 'realisations'))) {
    const file = `realisations/${name}`;
    const key = parseRealisationPath(file);
    if (key === undefined) throw new Error(`${file} is no name of a realisation`);
    const { outPath } = parseRealisation(await readFile(path.join(directory, file)), key);
    realisations.set(file, storePathFromBaseName(outPath, '/nix/store'));
  }
  return { directory, infos, realisations };
}

export interface SubsetOptions {
  readonly whole: WholeCache;
  /** Where to make it. */
  readonly directory: string;
  readonly random: Random;
  /** About that share of the paths goes, and with each all that refers to it; of the realisations a tenth of that share. */
  readonly removedShare: number;
  /** About that share of what is left loses its signatures. */
  readonly unsignedShare: number;
}

export async function makeSubset(options: SubsetOptions): Promise<CacheSubset> {
  const { whole, directory, random, removedShare, unsignedShare } = options;
  const removed = new Set<StorePath>([...whole.infos.keys()].filter(() => random.next() < removedShare));
  const referrers = referrersOf(whole);
  for (const gone of removed) for (const referrer of referrers.get(gone) ?? []) removed.add(referrer);
  const kept = [...whole.infos.values()].filter(({ storePath }) => !removed.has(storePath));
  const realisations = new Map([...whole.realisations].filter(() => random.next() >= removedShare / 10));
  await mkdir(path.join(directory, 'realisations'), { recursive: true });
  await writeFile(path.join(directory, 'nix-cache-info'), 'StoreDir: /nix/store\nWantMassQuery: 1\n');
  await symlink(path.join(whole.directory, 'nar'), path.join(directory, 'nar'));
  const infos = new Map<StorePath, NarInfo>();
  for (const info of kept) {
    const name = `${hashPartOf(info.storePath)}.narinfo`;
    const isUnsigned = random.next() < unsignedShare;
    const shown = isUnsigned ? { ...info, signatures: [] } : info;
    infos.set(info.storePath, shown);
    if (isUnsigned) await writeFile(path.join(directory, name), formatNarInfo(shown));
    else await symlink(path.join(whole.directory, name), path.join(directory, name));
  }
  for (const name of realisations.keys()) await symlink(path.join(whole.directory, name), path.join(directory, name));
  return {
    directory,
    infos,
    realisation: (keys) =>
      keys.map((key) => realisations.get(formatRealisationPath(key))).find((found) => found !== undefined),
  };
}

function referrersOf({ infos }: WholeCache): ReadonlyMap<StorePath, readonly StorePath[]> {
  const referrers = new Map<StorePath, StorePath[]>();
  for (const { storePath, references } of infos.values()) {
    for (const reference of references) {
      if (reference === storePath) continue;
      const list = referrers.get(reference);
      if (list === undefined) referrers.set(reference, [storePath]);
      else list.push(storePath);
    }
  }
  return referrers;
}
