import { readdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { mapConcurrent } from '../base/concurrency.ts';
import { systemErrorCode } from '../base/errors.ts';
import { readFileIfExists, writeFileAtomic } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import type { HashPart } from '../nix/store-path.ts';
import { hashPartOfNarInfoName, narInfoName, type PrivateLayout } from './layout.ts';

/** Why a narinfo is kept out of clients' sight: it, or its NAR, is damaged; or it is sound, but something that it refers to is not there. */
export type HiddenWhy = 'damaged' | 'withheld';

export interface HiddenNarInfo {
  readonly hashPart: HashPart;
  readonly why: HiddenWhy;
  readonly bytes: Buffer;
}

/** Keeps a copy of a narinfo that is about to leave clients' sight, durably. */
export async function keepHidden(layout: PrivateLayout, hidden: HiddenNarInfo): Promise<void> {
  await writeFileAtomic(hiddenFile(layout, hidden.hashPart, hidden.why), hidden.bytes);
  const other = hidden.why === 'damaged' ? 'withheld' : 'damaged';
  await rm(hiddenFile(layout, hidden.hashPart, other), { force: true });
}

/** All that is hidden, sorted by hash part. */
export async function readHidden(layout: PrivateLayout): Promise<readonly HiddenNarInfo[]> {
  const found = await Promise.all([readFolder(layout, 'damaged'), readFolder(layout, 'withheld')]);
  return found.flat().toSorted((a, b) => (a.hashPart < b.hashPart ? -1 : 1));
}

/** Forgets copies of narinfos that clients see again. */
export async function forgetHidden(layout: PrivateLayout, hashParts: readonly HashPart[]): Promise<void> {
  await mapConcurrent(hashParts, LIMITS.fileSyncsInFlight, async (hashPart) => {
    await rm(hiddenFile(layout, hashPart, 'damaged'), { force: true });
    await rm(hiddenFile(layout, hashPart, 'withheld'), { force: true });
  });
}

/** Where a NAR file lies once it was found damaged. It is kept: the fault may have been in the reading. */
export function damagedNarFile(layout: PrivateLayout, url: string): string {
  return join(layout.damagedNarsFolder, basename(url));
}

async function readFolder(layout: PrivateLayout, why: HiddenWhy): Promise<HiddenNarInfo[]> {
  const names = await listNames(why === 'damaged' ? layout.damagedFolder : layout.withheldFolder);
  const hashParts = names.map(hashPartOfNarInfoName).filter((hashPart) => hashPart !== undefined);
  const read = await mapConcurrent(hashParts, LIMITS.narInfoReadsInFlight, async (hashPart) => {
    const bytes = await readFileIfExists(hiddenFile(layout, hashPart, why), LIMITS.storageReadBytes);
    return bytes === undefined ? undefined : { hashPart, why, bytes };
  });
  return read.filter((hidden) => hidden !== undefined);
}

async function listNames(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return [];
    throw error;
  }
}

function hiddenFile(layout: PrivateLayout, hashPart: HashPart, why: HiddenWhy): string {
  return join(why === 'damaged' ? layout.damagedFolder : layout.withheldFolder, narInfoName(hashPart));
}
