import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { chmod, lstat, mkdtemp, readdir, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import {
  type Hash,
  hashFromDigest,
  makeFixedOutputPath,
  makeSourcePath,
  makeTextPath,
  nameOf,
  type StorePath,
  writeNar,
} from '../nix/index.ts';
import { narNodeFromFileSystem } from './file-tree.ts';
import { type LocalPath, type LocalStore, parseRegistrations } from './local-store.ts';
import { runNix } from './nix-command.ts';

/**
 * An empty store, made for one evaluation: what is valid in it afterwards is what the evaluation read, fetched or had built, and the
 * derivations that came out. Nix builds nothing in it (see evaluate-found.ts), and it lasts until it is disposed of.
 */
export interface EvaluationStore extends AsyncDisposable {
  readonly directory: string;
  /** The name of the folder, which nothing else has: in a derivation, it betrays that a file's place has leaked into it. */
  readonly placeName: string;
  readonly uri: string;
  /** Flags that make `nix eval` and the like evaluate into this store. */
  readonly evaluateHere: readonly string[];
  /** A name for a file beside the store that goes when the store goes. */
  newFile(name: string): string;
  /** Has the files of its paths, each under its base name. */
  readonly filesFolder: string;
  /** Where the files of one of its paths lie. */
  physical(path: StorePath): string;
  /** Every valid path of it, as of now. */
  readPaths(signal?: AbortSignal): Promise<ReadonlyMap<StorePath, LocalPath>>;
}

/** @param parentFolder where it is made; a flake of nixpkgs takes half a gigabyte there. The system's temporary folder unless given. */
export async function openEvaluationStore(storeDir: string, parentFolder = tmpdir()): Promise<EvaluationStore> {
  // Nix refuses stores below symbolic links.
  const directory = await mkdtemp(join(await realpath(parentFolder), 'nixferry-evaluation-'));
  const uri = `local?root=${encodeURIComponent(directory).replaceAll('%2F', '/')}&require-sigs=false`;
  let files = 0;
  const filesFolder = join(directory, 'nix/store');
  const physical = (path: StorePath) => join(filesFolder, basename(path));
  return {
    directory,
    placeName: basename(directory),
    uri,
    // Built paths come over from the local store unsigned. Only what carries its own proof is ever taken from here (`recogniseContent`).
    evaluateHere: ['--eval-store', uri, '--extra-substituters', ownStoreUri()],
    newFile: (name) => join(directory, `${name}-${++files}`),
    filesFolder,
    physical,
    async readPaths(signal) {
      const purpose = 'listing what the evaluation needed';
      const printed = await runNix('nix-store', ['--store', uri, '--dump-db'], { purpose, signal });
      return new Map(parseRegistrations(printed.toString('utf8'), storeDir).map((path) => [path.storePath, path]));
    },
    async [Symbol.asyncDispose]() {
      await makeFoldersWritable(directory);
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** Those of `paths` that the evaluation store may vouch for, as a store to copy from. */
export function evaluationStoreAsLocal(store: EvaluationStore, paths: ReadonlyMap<StorePath, LocalPath>): LocalStore {
  return {
    query: async (wanted) => {
      const found = wanted.flatMap((path) => paths.get(path) ?? []);
      return new Map(found.map((path) => [path.storePath, path]));
    },
    async *nar(path) {
      yield* writeNar(await narNodeFromFileSystem(store.physical(path)));
    },
  };
}

/**
 * How a path is named by a hash of what it holds: a `source` by its NAR, a `flat` file or a `text` by their bytes. Undefined for others: they were copied
 * from the local store, which is asked for them itself.
 */
export async function recogniseContent(
  store: EvaluationStore,
  path: LocalPath,
  storeDir: string,
): Promise<'source' | 'flat' | 'text' | undefined> {
  const { storePath, references, narHash } = path;
  const name = nameOf(storePath);
  if (name.endsWith('.drv')) return 'text';
  if (makeSourcePath(name, narHash, storeDir, { references }) === storePath) return 'source';
  const file = store.physical(storePath);
  if (!(await lstat(file)).isFile()) return undefined;
  const hash = await hashFile(file);
  if (makeTextPath(name, hash, references, storeDir) === storePath) return 'text';
  return references.length === 0 && makeFixedOutputPath('flat', hash, name, storeDir) === storePath
    ? 'flat'
    : undefined;
}

async function hashFile(file: string): Promise<Hash> {
  const digest = createHash('sha256');
  await pipeline(createReadStream(file), digest);
  return hashFromDigest('sha256', digest.read() as Buffer);
}

/** The store that Nix uses when it is not told otherwise: what it has is copied from there rather than fetched again. */
function ownStoreUri(): string {
  const remote = process.env['NIX_REMOTE'] ?? '';
  const uri = remote === '' ? 'auto' : remote;
  return `${uri}${uri.includes('?') ? '&' : '?'}trusted=true`;
}

/** Nothing can be removed from the folders of a store as Nix leaves them. */
async function makeFoldersWritable(folder: string): Promise<void> {
  await chmod(folder, 0o700);
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) await makeFoldersWritable(join(folder, entry.name));
  }
}
