import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { mapConcurrent } from '../base/concurrency.ts';
import { NixferryError } from '../base/errors.ts';
import { makeFolders, makeTempName, syncDirectory, TEMP_NAME_PREFIX } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import { ignoreProgress, type OnProgress } from '../base/progress.ts';
import { baseNameOf, type Hash, hashAlgorithm, hashFromDigest, NixFormatError, type StorePath } from '../nix/index.ts';
import { removeUnpacked } from './remove-unpacked.ts';
import { unpackNar } from './unpack-nar.ts';

/** A path to be unpacked; a `NarInfo` is one. */
export interface PackedPath {
  readonly storePath: StorePath;
  readonly narHash: Hash;
  readonly narSizeBytes: number;
  readonly references: readonly StorePath[];
  readonly deriver?: StorePath | undefined;
}

/** Paths that are complete together, and where their NARs are. */
export interface PackedClosure<Path extends PackedPath = PackedPath> {
  readonly paths: readonly Path[];
  /** Unpacked bytes, which need not be what `narHash` says. */
  nar(path: Path, signal?: AbortSignal): AsyncIterable<Uint8Array>;
}

export interface UnpackClosureOptions {
  /** The folder that has the paths: `/nix/store`, or one that stands for it. It is made where it is missing. */
  readonly storeFolder: string;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Unpacks the paths that are not there yet. A path appears, by rename, only when its NAR was what `narHash` says: what is there is whole, and
 * the same call goes on where it was interrupted. Throws `damage` naming the path, and `no-space`.
 */
export async function unpackClosure<Path extends PackedPath>(
  closure: PackedClosure<Path>,
  options: UnpackClosureOptions,
): Promise<{ readonly unpackedPaths: number; readonly presentPaths: number }> {
  const { storeFolder, onProgress = ignoreProgress, signal } = options;
  await makeFolders(storeFolder);
  await removeRemains(storeFolder);
  const absent = closure.paths.filter(({ storePath }) => !existsSync(join(storeFolder, baseNameOf(storePath))));
  const totalBytes = absent.reduce((total, { narSizeBytes }) => total + narSizeBytes, 0);
  onProgress({ type: 'phase', phase: 'unpack', totalItems: absent.length, totalBytes });
  const unpackOne = async (path: Path) => {
    await unpackPath(path, closure.nar(path, signal), storeFolder);
    onProgress({ type: 'advance', items: 1, bytes: path.narSizeBytes });
  };
  await mapConcurrent(absent, LIMITS.unpacksAtOnce, unpackOne, signal);
  await syncDirectory(storeFolder);
  return { unpackedPaths: absent.length, presentPaths: closure.paths.length - absent.length };
}

async function unpackPath(path: PackedPath, nar: AsyncIterable<Uint8Array>, storeFolder: string): Promise<void> {
  const target = join(storeFolder, baseNameOf(path.storePath));
  const temp = makeTempName(target);
  try {
    await unpackNar(checked(nar, path), temp);
    await rename(temp, target);
  } catch (error) {
    await removeUnpacked(temp);
    if (!(error instanceof NixFormatError)) throw error;
    throw damaged(path, error.message, error);
  }
}

/** The same bytes; throws `damage` at their end unless they are what was promised. */
async function* checked(nar: AsyncIterable<Uint8Array>, path: PackedPath): AsyncGenerator<Uint8Array, void, undefined> {
  const algorithm = hashAlgorithm(path.narHash);
  const digest = createHash(algorithm);
  let sizeBytes = 0;
  for await (const chunk of nar) {
    sizeBytes += chunk.length;
    if (sizeBytes > path.narSizeBytes) throw damaged(path, 'it is longer than it should be');
    digest.update(chunk);
    yield chunk;
  }
  if (sizeBytes !== path.narSizeBytes) throw damaged(path, 'it is shorter than it should be');
  if (hashFromDigest(algorithm, digest.digest()) !== path.narHash) throw damaged(path, 'its hash is another one');
}

/** What an interrupted attempt left. */
async function removeRemains(storeFolder: string): Promise<void> {
  for (const name of await readdir(storeFolder)) {
    if (name.startsWith(TEMP_NAME_PREFIX)) await removeUnpacked(join(storeFolder, name));
  }
}

function damaged({ storePath }: PackedPath, why: string, cause?: unknown): NixferryError {
  return new NixferryError('damage', `the NAR of ${storePath} is damaged: ${why}`, {
    hint: 'nixferry verify repairs a mirror; a medium is to be copied again',
    cause,
  });
}
