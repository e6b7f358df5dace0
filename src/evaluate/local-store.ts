import { formatCount } from '../base/amounts.ts';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { type Hash, hashFromDigest, type NarNode, parseStorePath, type StorePath, writeNar } from '../nix/index.ts';
import { narNodeFromFileSystem } from './file-tree.ts';
import { isNixThere, runNix } from './nix-command.ts';
import { locateStorePath } from './private-nix.ts';

/** What the local Nix knows of a valid path of its store. */
export interface LocalPath {
  readonly storePath: StorePath;
  readonly narHash: Hash;
  readonly narSizeBytes: number;
  readonly references: readonly StorePath[];
  readonly deriver: StorePath | undefined;
}

/** The store of the Nix that is installed here, as a place to copy from. */
export interface LocalStore {
  /** Those of `paths` that are valid in the store; the others are absent from the answer. */
  query(paths: readonly StorePath[], signal?: AbortSignal): Promise<Map<StorePath, LocalPath>>;
  /** The path as a NAR, read from the file system. */
  nar(path: StorePath): AsyncIterable<Uint8Array>;
}

/**
 * The local store, or undefined where no Nix is installed.
 * @param storeDir the store folder that its paths must have.
 */
export function openLocalStore(storeDir: string): LocalStore | undefined {
  if (!isNixThere('nix-store')) return undefined;
  return {
    async query(paths, querySignal) {
      const found = new Map<StorePath, LocalPath>();
      for (let start = 0; start < paths.length; start += LIMITS.nixPathsPerQuery) {
        const batch = paths.slice(start, start + LIMITS.nixPathsPerQuery);
        for (const local of await queryBatch(batch, storeDir, querySignal)) found.set(local.storePath, local);
      }
      return found;
    },
    async *nar(path) {
      const node: NarNode = await narNodeFromFileSystem(locateStorePath(path));
      yield* writeNar(node);
    },
  };
}

/**
 * Parses what `nix-store --dump-db PATH…` prints: for each path the lines path, NAR hash (base16), NAR size, deriver or nothing,
 * number of references, references. This registration format is older than `nix path-info --json` and, unlike that one, has never changed.
 */
export function parseRegistrations(text: string, storeDir: string): LocalPath[] {
  const lines = text.split('\n');
  const paths: LocalPath[] = [];
  let position = 0;
  const next = () => {
    const line = lines[position];
    if (line === undefined)
      throw new NixferryError('nix-failed', `nix-store --dump-db: its answer ends after line ${position}`);
    position += 1;
    return line;
  };
  while (position < lines.length && lines[position] !== '') {
    const storePath = parseStorePath(next(), storeDir);
    const narHash = hashFromDigest('sha256', Buffer.from(next(), 'hex'));
    const narSizeBytes = Number(next());
    const deriver = next();
    const count = Number(next());
    const references = Array.from({ length: count }, () => parseStorePath(next(), storeDir));
    paths.push({
      storePath,
      narHash,
      narSizeBytes,
      references,
      deriver: deriver === '' ? undefined : parseStorePath(deriver, storeDir),
    });
  }
  return paths;
}

async function queryBatch(paths: readonly StorePath[], storeDir: string, signal?: AbortSignal): Promise<LocalPath[]> {
  const purpose = `asking the local store about ${formatCount(paths.length, 'path')}`;
  const invalid = await runNix('nix-store', ['--check-validity', '--print-invalid', ...paths], { purpose, signal });
  const absent = new Set(invalid.toString('utf8').split('\n'));
  const valid = paths.filter((path) => !absent.has(path));
  if (valid.length === 0) return [];
  const printed = await runNix('nix-store', ['--dump-db', ...valid], { purpose, signal });
  return parseRegistrations(printed.toString('utf8'), storeDir);
}
