import { createHash } from 'node:crypto';
import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { systemErrorCode } from '../base/errors.ts';
import { readFileIfExists } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import { narNodeFromFileSystem } from '../evaluate/file-tree.ts';
import type { LocalPath, LocalStore } from '../evaluate/local-store.ts';
import {
  baseNameOf,
  hashBytes,
  hashFromDigest,
  makeSourcePath,
  makeTextPath,
  NixFormatError,
  nameOf,
  parseDerivation,
  type StorePath,
  storeDirOf,
  writeNar,
} from '../nix/index.ts';

/**
 * A folder with copies of `.drv` files and of the files that they are built from, each under its base name, as a store: for a machine without Nix. It has
 * those whose names follow from what they hold.
 */
export function openDerivationFolder(folder: string): LocalStore {
  const locate = (path: StorePath) => join(folder, baseNameOf(path));
  const nar = async function* nar(path: StorePath): AsyncGenerator<Uint8Array, void, undefined> {
    yield* writeNar(await narNodeFromFileSystem(locate(path)));
  };
  return {
    nar,
    async query(paths, signal) {
      const found = new Map<StorePath, LocalPath>();
      for (const path of paths) {
        signal?.throwIfAborted();
        const references = await provenReferences(path, locate(path), () => nar(path));
        if (references !== undefined) found.set(path, await describe(path, references, nar(path)));
      }
      return found;
    },
  };
}

/** The bytes of a `.drv` file of the folder; undefined where it has none, or one that is not what its name says. */
export async function readDerivationOf(folder: string, drvPath: StorePath): Promise<Buffer | undefined> {
  const bytes = await readFileIfExists(join(folder, baseNameOf(drvPath)), LIMITS.derivationBytes);
  return bytes !== undefined && derivationReferences(drvPath, bytes) !== undefined ? bytes : undefined;
}

async function provenReferences(
  path: StorePath,
  file: string,
  nar: () => AsyncIterable<Uint8Array>,
): Promise<readonly StorePath[] | undefined> {
  if (!(await isThere(file))) return undefined;
  const name = nameOf(path);
  if (name.endsWith('.drv')) {
    const bytes = await readFileIfExists(file, LIMITS.derivationBytes);
    return bytes === undefined ? undefined : derivationReferences(path, bytes);
  }
  if (makeSourcePath(name, await narHashOf(nar()), storeDirOf(path)) === path) return [];
  const bytes = (await lstat(file)).isFile() ? await readFileIfExists(file, LIMITS.derivationBytes) : undefined;
  if (bytes === undefined) return undefined;
  return makeTextPath(name, hashBytes('sha256', bytes), [], storeDirOf(path)) === path ? [] : undefined;
}

/** What a derivation refers to, if it is the one of that name. */
function derivationReferences(drvPath: StorePath, bytes: Buffer): readonly StorePath[] | undefined {
  try {
    const storeDir = storeDirOf(drvPath);
    const { inputDerivations, inputSources } = parseDerivation(bytes, storeDir);
    const references = [...inputDerivations.keys(), ...inputSources];
    const named = makeTextPath(nameOf(drvPath), hashBytes('sha256', bytes), references, storeDir);
    return named === drvPath ? references : undefined;
  } catch (error) {
    if (error instanceof NixFormatError) return undefined;
    throw error;
  }
}

async function describe(
  storePath: StorePath,
  references: readonly StorePath[],
  nar: AsyncIterable<Uint8Array>,
): Promise<LocalPath> {
  const digest = createHash('sha256');
  let narSizeBytes = 0;
  for await (const chunk of nar) {
    digest.update(chunk);
    narSizeBytes += chunk.length;
  }
  return {
    storePath,
    references,
    narHash: hashFromDigest('sha256', digest.digest()),
    narSizeBytes,
    deriver: undefined,
  };
}

async function narHashOf(nar: AsyncIterable<Uint8Array>) {
  const digest = createHash('sha256');
  for await (const chunk of nar) digest.update(chunk);
  return hashFromDigest('sha256', digest.digest());
}

async function isThere(file: string): Promise<boolean> {
  try {
    await lstat(file);
    return true;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return false;
    throw error;
  }
}
