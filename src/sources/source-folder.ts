import type { Dirent } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { mapConcurrent } from '../base/concurrency.ts';
import { NixferryError, systemErrorCode } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { OnProgress } from '../base/progress.ts';
import { baseNameOf, type Hash, isHashPart } from '../nix/index.ts';
import type { FileHashes } from './file-hashes.ts';
import type { FixedSource } from './fixed-source.ts';
import { HashMemory } from './hash-memory.ts';

/** Something in a folder that may be a source; to be checked by whoever takes it. */
export type FolderCandidate =
  /** A path as it lies in a store. */
  | { readonly kind: 'path'; readonly file: string }
  /** A file with the declared hash, to be taken as it is, or as an executable. */
  | { readonly kind: 'file' | 'executable'; readonly file: string }
  /** A file named as the one at the derivation's address. */
  | { readonly kind: 'fetched'; readonly file: string };

/** A folder of files, or a store of sources, that somebody has already. */
export interface SourceFolder {
  readonly directory: string;
  /** What may be the source, the likeliest first. */
  find(source: FixedSource): readonly FolderCandidate[];
}

export interface SourceFolderOptions {
  /** Where hashes are remembered from one run to the next. */
  readonly cacheFolder: string;
  readonly onProgress: OnProgress;
  readonly signal: AbortSignal;
}

/**
 * Looks through a folder and all below it, and hashes every file that is new, or not as long or as old as it was. Things named like store paths
 * are known by their names, folders of that kind are not entered. Links are not followed.
 * @throws NixferryError `usage` when there is no such folder, or it is a binary cache, which is an upstream.
 */
export async function openSourceFolder(directory: string, options: SourceFolderOptions): Promise<SourceFolder> {
  const root = await findRoot(resolve(directory));
  const found = await listFiles(root, options.signal);
  const memory = await HashMemory.open(options.cacheFolder, root);
  const { onProgress, signal } = options;
  const fresh = found.files.filter((file) => memory.get(file) === undefined);
  if (fresh.length > 0) {
    const totalBytes = fresh.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    onProgress({ type: 'phase', phase: `hash ${basename(root)}`, totalItems: fresh.length, totalBytes });
  }
  try {
    await mapConcurrent(
      fresh,
      LIMITS.sourceFilesHashedAtOnce,
      async (file) => {
        await memory.hash(root, file, signal);
        onProgress({ type: 'advance', items: 1, bytes: file.sizeBytes });
      },
      signal,
    );
  } finally {
    // What is hashed stays hashed, however this ends.
    await memory.save(found.files);
  }
  return new HashedFolder(root, found, memory);
}

/** A file as it was seen; hashes hold for as long as it is seen so. */
export interface SeenFile {
  /** Below the folder. */
  readonly name: string;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
}

interface FoundFiles {
  readonly files: readonly SeenFile[];
  /** By base name; anywhere below the folder. */
  readonly storePaths: ReadonlyMap<string, string>;
}

class HashedFolder implements SourceFolder {
  readonly directory: string;
  readonly #storePaths: ReadonlyMap<string, string>;
  readonly #byHash = new Map<Hash, string>();
  readonly #byExecutableHash = new Map<Hash, string>();
  readonly #byName = new Map<string, string[]>();

  constructor(root: string, { files, storePaths }: FoundFiles, memory: HashMemory) {
    this.directory = root;
    this.#storePaths = storePaths;
    for (const file of files) {
      const hashes = memory.get(file);
      if (hashes !== undefined) this.#add(join(root, file.name), hashes);
    }
  }

  find({ storePath, address, recipe }: FixedSource): readonly FolderCandidate[] {
    const candidates: FolderCandidate[] = [];
    const named = this.#storePaths.get(baseNameOf(storePath));
    if (named !== undefined) candidates.push({ kind: 'path', file: join(this.directory, named) });
    if (address.method === 'flat') {
      const file = this.#byHash.get(address.hash);
      if (file !== undefined) candidates.push({ kind: 'file', file });
    }
    if (address.method !== 'nar') return candidates;
    const executable = this.#byExecutableHash.get(address.hash);
    if (executable !== undefined) candidates.push({ kind: 'executable', file: executable });
    for (const text of recipe?.addresses ?? []) {
      const name = text.replace(/[?#].*$/s, '').replace(/^.*\//s, '');
      for (const file of this.#byName.get(name) ?? []) candidates.push({ kind: 'fetched', file });
    }
    return candidates;
  }

  #add(file: string, { flat, executable }: FileHashes): void {
    for (const hash of Object.values(flat)) this.#byHash.set(hash, file);
    this.#byExecutableHash.set(executable, file);
    const name = basename(file);
    const alike = this.#byName.get(name);
    if (alike === undefined) this.#byName.set(name, [file]);
    else alike.push(file);
  }
}

/** A folder that looks like the root of a system has its store inside. */
async function findRoot(directory: string): Promise<string> {
  const stats = await statOf(directory);
  if (stats?.isDirectory() !== true) {
    throw new NixferryError('usage', `there is no folder ${directory}`, { hint: 'name a folder with --sources-from' });
  }
  if ((await statOf(join(directory, 'nix-cache-info'))) !== undefined) {
    throw new NixferryError('usage', `${directory} is a binary cache, not a folder of sources`, {
      hint: `name it with --upstream file://${directory}`,
    });
  }
  const store = join(directory, 'nix/store');
  return (await statOf(store))?.isDirectory() === true ? store : directory;
}

async function listFiles(root: string, signal: AbortSignal): Promise<FoundFiles> {
  const files: SeenFile[] = [];
  const storePaths = new Map<string, string>();
  const folders = [''];
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    signal.throwIfAborted();
    for (const entry of await readdir(join(root, folder), { withFileTypes: true })) {
      const name = folder === '' ? entry.name : `${folder}/${entry.name}`;
      const isStorePath = looksLikeStorePath(entry);
      if (isStorePath) storePaths.set(entry.name, name);
      if (entry.isDirectory() && !isStorePath) folders.push(name);
      if (!entry.isFile()) continue;
      if (files.length >= LIMITS.sourceFolderFiles) throw tooMany(root);
      const { size: sizeBytes, mtimeMs: modifiedMs } = await lstat(join(root, name));
      files.push({ name, sizeBytes, modifiedMs });
    }
  }
  return { files, storePaths };
}

function looksLikeStorePath({ name }: Dirent): boolean {
  return name[32] === '-' && isHashPart(name.slice(0, 32)) && !name.endsWith('.drv') && !name.endsWith('.lock');
}

async function statOf(path: string) {
  try {
    return await lstat(path);
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw error;
  }
}

function tooMany(root: string): NixferryError {
  return new NixferryError('usage', `${root} holds more than ${LIMITS.sourceFolderFiles} files`, {
    hint: 'name a folder with --sources-from that holds sources and nothing else',
  });
}
