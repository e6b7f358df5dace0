import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { systemErrorCode } from '../base/errors.ts';
import { freeBytes } from '../base/files.ts';
import type { PublicKey } from '../nix/signature.ts';
import { hashPartOf } from '../nix/store-path.ts';
import { readHidden } from './hidden-paths.ts';
import type { IndexTotals } from './index.ts';
import type { Mirror } from './mirror.ts';
import { type RootRecord, readRoots } from './roots.ts';
import { readTrustedKeys } from './trusted-keys.ts';

export interface MirrorStatus {
  readonly directory: string;
  readonly storeDir: string;
  readonly totals: IndexTotals;
  readonly roots: readonly RootSummary[];
  /** What is here and belongs to none of them: it came through a caching proxy, was adopted, or its root was removed. */
  readonly pathsInNoRoot: number;
  /** What a caching proxy has fetched and shows when all that it refers to is here. */
  readonly pathsWaiting: number;
  readonly freeBytes: number;
  /** Undefined for a plain binary cache that was not opened to write yet. */
  readonly publicKey: PublicKey | undefined;
  readonly trustedUpstreams: readonly PublicKey[];
  readonly trustedSenders: readonly PublicKey[];
  readonly interrupted: InterruptedWork;
  readonly warnings: readonly string[];
}

export type RootSummary = Omit<RootRecord, 'paths' | 'rootPaths'> & {
  readonly pathCount: number;
  readonly rootPathCount: number;
};

/** What killed or failed commands left, and the next one goes on with. */
export interface InterruptedWork {
  readonly partialFiles: number;
  readonly partialBytes: number;
  readonly quarantined: number;
  readonly journals: number;
  /** Paths that `verify` took out of clients' sight: damaged themselves, or referring to such. */
  readonly damaged: number;
  readonly withheld: number;
}

/** What the mirror holds, at a glance. Works beside a writer and on read-only media. */
export async function mirrorStatus(mirror: Mirror): Promise<MirrorStatus> {
  const roots = await readRoots(mirror);
  return {
    directory: mirror.directory,
    storeDir: mirror.storeDir,
    totals: await mirror.index.totals(),
    roots: await Promise.all(roots.map((root) => summarize(mirror, root))),
    pathsInNoRoot: await countInNoRoot(mirror, roots),
    pathsWaiting: (await listFolder(join(mirror.layout.proxyFolder, 'held'))).filter((name) =>
      name.endsWith('.narinfo'),
    ).length,
    freeBytes: await freeBytes(mirror.directory),
    publicKey: mirror.hasKey ? mirror.publicKey : undefined,
    trustedUpstreams: await readTrustedKeys(mirror, 'upstream'),
    trustedSenders: await readTrustedKeys(mirror, 'sender'),
    interrupted: await findInterrupted(mirror),
    warnings: mirror.warnings,
  };
}

/** A root that was complete when it was recorded is not any more when `verify` has hidden something of it: then its own paths are hidden too. */
async function summarize(mirror: Mirror, { paths, rootPaths, ...rest }: RootRecord): Promise<RootSummary> {
  const visible = await Promise.all(rootPaths.map((path) => mirror.index.has(hashPartOf(path))));
  const complete = rest.complete && visible.every(Boolean);
  return { ...rest, complete, pathCount: paths.length, rootPathCount: rootPaths.length };
}

async function countInNoRoot(mirror: Mirror, roots: readonly RootRecord[]): Promise<number> {
  const held = new Set(roots.flatMap(({ paths }) => paths.map(hashPartOf)));
  return (await mirror.index.hashParts()).filter((hashPart) => !held.has(hashPart)).length;
}

async function findInterrupted(mirror: Mirror): Promise<InterruptedWork> {
  const { partialFolder, quarantineFolder, journalFolder } = mirror.layout;
  const partials = await listFolder(partialFolder);
  const sizes = await Promise.all(partials.map((name) => sizeOf(join(partialFolder, name))));
  const hidden = await readHidden(mirror.layout);
  const damaged = hidden.filter(({ why }) => why === 'damaged').length;
  return {
    partialFiles: partials.length,
    partialBytes: sizes.reduce((sum, bytes) => sum + bytes, 0),
    quarantined: (await listFolder(quarantineFolder)).length,
    journals: (await listFolder(journalFolder)).length,
    damaged,
    withheld: hidden.length - damaged,
  };
}

async function listFolder(folder: string): Promise<readonly string[]> {
  return (await ifPresent(readdir(folder))) ?? [];
}

async function sizeOf(file: string): Promise<number> {
  return (await ifPresent(stat(file)))?.size ?? 0;
}

/** A writer beside us may remove any of these files at any moment. */
async function ifPresent<Result>(promise: Promise<Result>): Promise<Result | undefined> {
  try {
    return await promise;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}
