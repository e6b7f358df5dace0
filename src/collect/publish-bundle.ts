import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { NixferryError } from '../base/errors.ts';
import { formatBundleHead, formatInfoRefs } from '../base/git-refs.ts';
import { LIMITS } from '../base/limits.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { composeNar } from '../mirror/nar-compose.ts';
import { withIntakenNar } from '../mirror/nar-intake.ts';
import { publish } from '../mirror/publish.ts';
import { BUNDLE_FILES, type RepositoryState } from '../mirror/repository-bundle.ts';
import {
  baseNameOf,
  formatContentAddress,
  makeSourcePath,
  type NarNode,
  type StorePath,
  type StorePathBaseName,
  storePathFromBaseName,
  writeNar,
} from '../nix/index.ts';

/** The files of a bundle, as a store path has them. @param pack has its index beside it, as `.idx`. */
export async function treeOf(
  { head, refs }: RepositoryState,
  before: readonly string[],
  pack: string,
): Promise<NarNode> {
  const index = pack.replace(/\.pack$/, '.idx');
  const bundleHead = Buffer.from(formatBundleHead(refs, before));
  const packBytes = (await stat(pack)).size;
  const bundle: NarNode = {
    type: 'regular',
    executable: false,
    sizeBytes: bundleHead.length + packBytes,
    async *contents() {
      yield bundleHead;
      yield* createReadStream(pack, { highWaterMark: LIMITS.fileChunkBytes });
    },
  };
  const indexFile: NarNode = {
    type: 'regular',
    executable: false,
    sizeBytes: (await stat(index)).size,
    contents: () => createReadStream(index, { highWaterMark: LIMITS.fileChunkBytes }),
  };
  const files: [string, NarNode][] = [
    [BUNDLE_FILES.head, textFile(`ref: ${head}\n`)],
    [BUNDLE_FILES.refs, textFile(formatInfoRefs(refs))],
    [BUNDLE_FILES.bundle, bundle],
    [BUNDLE_FILES.index, indexFile],
  ];
  return { type: 'directory', entries: () => files.map(([name, node]) => [Buffer.from(name), node] as const) };
}

function textFile(text: string): NarNode {
  const bytes = Buffer.from(text);
  return { type: 'regular', executable: false, sizeBytes: bytes.length, contents: () => [bytes] };
}

export interface BundlePublication {
  readonly place: string;
  /** What it builds on. */
  readonly before: StorePathBaseName | undefined;
  readonly mirror: Mirror;
  readonly signal: AbortSignal;
}

/** Publishes it in the mirror, as a path that refers to the one before. */
export async function publishBundle(
  tree: NarNode,
  { place, before, mirror, signal }: BundlePublication,
): Promise<StorePathBaseName> {
  const { storeDir } = mirror;
  // A pack is compressed already.
  const nar = await composeNar({ mirror, nar: writeNar(tree), level: 1, signal });
  const { url, compression, narHash, narSizeBytes } = nar;
  const references: StorePath[] = before === undefined ? [] : [storePathFromBaseName(before, storeDir)];
  const storePath = makeSourcePath(nameOf(place), narHash, storeDir, { references });
  const contentAddress = formatContentAddress({ method: 'nar', hash: narHash });
  const described = { storePath, url, compression, narHash, narSizeBytes, references, signatures: [], contentAddress };
  const { refused } = await publish(mirror, [{ info: withIntakenNar(described, nar), narFile: nar.file }], { signal });
  const [problem] = refused;
  if (problem !== undefined) throw new NixferryError('damage', `${problem.path}: ${problem.reason}`);
  return baseNameOf(storePath);
}

/** `team/lib.git` → `lib.git` */
function nameOf(place: string): string {
  const name = place.slice(place.lastIndexOf('/') + 1).replaceAll(/[^0-9A-Za-z+._?=-]/g, '-');
  return name.replace(/^\.+/, '');
}
