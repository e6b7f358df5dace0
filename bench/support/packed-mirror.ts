// Mirrors to pack: a few large NARs of the machine's own programs and texts, compressed with zstd; or very many small ones. They are made once and
// found in the temp folder by later runs.

import { existsSync } from 'node:fs';
import { mkdir, open, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { mapConcurrent } from '../../src/base/concurrency.ts';
import { type Mirror, openMirror } from '../../src/mirror/mirror.ts';
import { composeNar } from '../../src/mirror/nar-compose.ts';
import { type PublishCandidate, publish } from '../../src/mirror/publish.ts';
import { makeRootId, writeRoot } from '../../src/mirror/roots.ts';
import {
  baseNameOf,
  formatNarInfo,
  hashBytes,
  hashPartOf,
  makeOutputPath,
  type NarInfo,
  type StorePath,
  signNarInfo,
  writeNar,
} from '../../src/nix/index.ts';
import { run } from '../../test/support/run.ts';

/** Part of the folders' names: change it when what is generated changes. */
const GENERATION = 1;
const POOL_BYTES = 192 * 1024 * 1024;
const CHUNK_BYTES = 1024 * 1024;

/** A mirror with NARs of these sizes, about; each refers to the one before, and the last is the root `all`. */
export async function openLargeMirror(
  name: string,
  narSizes: readonly number[],
  note: (text: string) => void,
): Promise<string> {
  return madeOnce(name, note, async (mirror) => {
    const pool = await readPool();
    const infos: NarInfo[] = [];
    for (const [index, sizeBytes] of narSizes.entries()) {
      const contents = () => chunksOf(pool, index * 7_919_111, sizeBytes);
      const nar = writeNar({ type: 'regular', executable: false, sizeBytes, contents });
      const { file, ...composed } = await composeNar({ mirror, nar });
      const info: NarInfo = { ...describe(mirror, `large-${index}`, infos.at(-1)?.storePath), ...composed };
      infos.push(info);
      await publish(mirror, [{ info, narFile: file } satisfies PublishCandidate]);
    }
    await writeRootOver(mirror, infos);
  });
}

/** A mirror with very many small paths, written as plain files: publishing them one by one would take longer than all that is measured. */
export async function openSmallMirror(name: string, count: number, note: (text: string) => void): Promise<string> {
  return madeOnce(name, note, async (mirror) => {
    const infos = await mapConcurrent(
      Array.from({ length: count }, (_, index) => index),
      32,
      (index) => writeSmallPath(mirror, index),
    );
    await mirror.index.rebuild();
    await writeRootOver(mirror, infos);
  });
}

/** Adds a path that nobody has yet, and makes it the root `all` over everything. */
export async function changeOnePath(directory: string, generation: number): Promise<void> {
  await using mirror = await openMirror(directory, { access: 'write' });
  const info = await writeSmallPath(mirror, 1_000_000 + generation);
  await mirror.index.rebuild();
  const paths = await mirror.index.hashParts();
  const infos = await mapConcurrent(paths, 32, (hashPart) => mirror.readNarInfo(hashPart));
  await writeRootOver(mirror, [...infos.filter((one) => one !== undefined), info]);
}

async function madeOnce(
  name: string,
  note: (text: string) => void,
  make: (mirror: Mirror) => Promise<void>,
): Promise<string> {
  const folder = path.join(tmpdir(), `nixferry-bench-mirror-${name}-${GENERATION}`);
  if (existsSync(folder)) return folder;
  note(`making ${folder}, once`);
  const partial = `${folder}.partial`;
  await rm(partial, { recursive: true, force: true });
  const mirror = await openMirror(partial, { access: 'write', create: true, keyName: 'bench-1' });
  await make(mirror);
  await mirror.close();
  await rename(partial, folder);
  return folder;
}

async function writeSmallPath(mirror: Mirror, index: number): Promise<NarInfo> {
  const contents = Buffer.from(`path number ${index}\n`.repeat(8));
  const chunks: Buffer[] = [];
  const node = { type: 'regular', executable: false, sizeBytes: contents.length, contents: () => [contents] } as const;
  for await (const chunk of writeNar(node)) chunks.push(Buffer.from(chunk));
  const nar = Buffer.concat(chunks);
  const narHash = hashBytes('sha256', nar);
  const described = {
    ...describe(mirror, `small-${index}`, undefined),
    url: `nar/${narHash.slice('sha256:'.length)}.nar`,
    compression: 'none',
    fileHash: narHash,
    fileSizeBytes: nar.length,
    narHash,
    narSizeBytes: nar.length,
  };
  const info = signNarInfo(described, mirror.secretKey);
  await writeFile(path.join(mirror.directory, info.url), nar);
  await writeFile(path.join(mirror.directory, `${hashPartOf(info.storePath)}.narinfo`), formatNarInfo(info));
  return info;
}

function describe(mirror: Mirror, name: string, reference: StorePath | undefined) {
  const storePath = makeOutputPath('out', hashBytes('sha256', name), name, mirror.storeDir);
  return { storePath, references: reference === undefined ? [] : [reference], signatures: [] };
}

async function writeRootOver(mirror: Mirror, infos: readonly NarInfo[]): Promise<void> {
  const identity = { name: 'all', request: 'all', scope: 'run', origin: 'collected' } as const;
  const paths = infos.map(({ storePath }) => baseNameOf(storePath)).sort();
  await writeRoot(mirror, {
    ...identity,
    format: 1,
    id: makeRootId(identity),
    rootPaths: paths.slice(-1),
    paths,
    complete: true,
  });
}

/** Contents of the machine's own files, to be compressed as real packages are. */
async function readPool(): Promise<Buffer> {
  const pool = Buffer.allocUnsafe(POOL_BYTES);
  let filled = 0;
  const found = await run('find', ['/usr/lib', '/usr/bin', '-xdev', '-type', 'f', '-size', '+8']);
  for (const name of found.stdout.split('\n').sort()) {
    if (filled === POOL_BYTES || name === '') continue;
    await using file = await open(name);
    const { bytesRead } = await file.read(pool, filled, POOL_BYTES - filled, 0);
    filled += bytesRead;
  }
  return pool.subarray(0, filled);
}

function* chunksOf(pool: Buffer, start: number, sizeBytes: number): Generator<Buffer> {
  let position = start % pool.length;
  for (let rest = sizeBytes; rest > 0; ) {
    const chunk = pool.subarray(position, Math.min(pool.length, position + Math.min(rest, CHUNK_BYTES)));
    yield chunk;
    rest -= chunk.length;
    position = (position + chunk.length) % pool.length;
  }
}

/** The sizes of NARs that are `totalBytes` together: few large ones hold most of it, as in nixpkgs. */
export function narSizesOf(totalBytes: number, largestBytes: number): number[] {
  const sizes: number[] = [];
  for (
    let rest = totalBytes, sizeBytes = largestBytes;
    rest > 0;
    sizeBytes = sizeBytes / 2 < CHUNK_BYTES / 4 ? largestBytes : sizeBytes / 2
  ) {
    const size = Math.floor(Math.min(rest, sizeBytes));
    sizes.push(size);
    rest -= size;
  }
  return sizes;
}

/** Makes an empty folder, whatever was there. */
export async function emptyFolder(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
}
