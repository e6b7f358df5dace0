import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import type { Compression } from '../base/compression/compression.ts';
import { decompressStream } from '../base/compression/decompress-stream.ts';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { hashAlgorithm, hashFromDigest, type NarNode, writeNar } from '../nix/index.ts';
import { WrongContents } from './content-proof.ts';
import type { FetchRecipe, FixedSource } from './fixed-source.ts';
import { SpooledTree } from './spooled-tree.ts';
import { unpackTar } from './unpack-tar.ts';
import { unpackZip } from './unpack-zip.ts';

export interface FormsOptions {
  /** For what is unpacked. */
  readonly tempFolder: string;
  readonly signal: AbortSignal;
}

/**
 * Makes the output of a file that was fetched, as a NAR, and hands it to `use`. Where several outputs could be meant, it is the one that has the declared
 * hash.
 * @throws WrongContents when none has; `damage` for what cannot be unpacked; `program-missing`; what `use` throws.
 */
export async function withOutput<Result>(
  file: string,
  { address }: Pick<FixedSource, 'address'>,
  form: FetchRecipe['form'],
  options: FormsOptions,
  use: (nar: AsyncIterable<Uint8Array>) => Promise<Result>,
): Promise<Result> {
  const { signal } = options;
  if (form === 'file' || form === 'executable') return use(writeNar(await plainFile(file, form === 'executable')));
  if (form === 'nar') return use(readNarFile(file, signal));
  if (address.method !== 'nar') throw new Error('a tree is hashed as a NAR');
  const unpacked: NarNode[] = [];
  await using tree = await unpack(file, options);
  if (tree !== undefined) unpacked.push(...[tree.inner(), tree.whole()].filter((node) => node !== undefined));
  const files = [await plainFile(file, true), await plainFile(file, false)];
  for (const candidate of [...unpacked, ...files]) {
    if ((await hashOf(candidate, address.hash, signal)) === address.hash) return await use(writeNar(candidate));
  }
  const tried = tree === undefined ? 'neither the file nor the executable' : 'neither the archive nor what is in it';
  throw new WrongContents(`${tried} has the declared hash`);
}

async function plainFile(file: string, executable: boolean): Promise<NarNode> {
  const handle = await open(file);
  try {
    const { size: sizeBytes } = await handle.stat();
    const contents = () => createReadStream(file, { highWaterMark: LIMITS.fileChunkBytes });
    return { type: 'regular', executable, sizeBytes, contents };
  } finally {
    await handle.close();
  }
}

async function* readNarFile(file: string, signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
  const compression = (await magicOf(file)) === 'xz' ? 'xz' : 'none';
  yield* decompressed(file, compression, signal);
}

/** Undefined for a file that is no archive. */
async function unpack(file: string, { tempFolder, signal }: FormsOptions): Promise<SpooledTree | undefined> {
  const kind = await magicOf(file);
  if (kind === undefined) return undefined;
  await using cleanUp = new AsyncDisposableStack();
  const tree = cleanUp.use(await SpooledTree.open(join(tempFolder, `unpack-${randomBytes(12).toString('hex')}`)));
  try {
    if (kind === 'zip') await unpackZip(file, tree, signal);
    else await unpackTar(decompressed(file, kind === 'tar' ? 'none' : kind, signal), tree);
  } catch (error) {
    // A single compressed file is no archive either.
    if (error instanceof NixferryError && error.code === 'damage' && kind !== 'zip' && kind !== 'tar') return undefined;
    throw error;
  }
  cleanUp.move();
  return tree;
}

async function* decompressed(
  file: string,
  compression: Compression,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const bytes = createReadStream(file, { highWaterMark: LIMITS.fileChunkBytes });
  try {
    yield* decompressStream(compression, bytes, { maxBytes: LIMITS.unpackedSourceBytes, signal });
  } finally {
    bytes.destroy();
  }
}

async function hashOf(node: NarNode, like: Parameters<typeof hashAlgorithm>[0], signal: AbortSignal) {
  const algorithm = hashAlgorithm(like);
  const digest = createHash(algorithm);
  for await (const chunk of writeNar(node)) {
    signal.throwIfAborted();
    digest.update(chunk);
  }
  return hashFromDigest(algorithm, digest.digest());
}

type Magic = 'gzip' | 'xz' | 'bzip2' | 'zstd' | 'zip' | 'tar';

const MAGICS: readonly (readonly [Magic, offset: number, bytes: readonly number[]])[] = [
  ['gzip', 0, [0x1f, 0x8b]],
  ['xz', 0, [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ['bzip2', 0, [0x42, 0x5a, 0x68]],
  ['zstd', 0, [0x28, 0xb5, 0x2f, 0xfd]],
  ['zip', 0, [0x50, 0x4b, 0x03, 0x04]],
  ['tar', 257, [0x75, 0x73, 0x74, 0x61, 0x72]],
];

async function magicOf(file: string): Promise<Magic | undefined> {
  const handle = await open(file);
  try {
    const head = Buffer.alloc(512);
    const { bytesRead } = await handle.read(head, 0, head.length, 0);
    const found = MAGICS.find(([, offset, bytes]) => bytes.every((byte, index) => head[offset + index] === byte));
    return bytesRead === 0 ? undefined : found?.[0];
  } finally {
    await handle.close();
  }
}
