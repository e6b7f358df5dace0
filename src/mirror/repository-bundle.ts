import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { asCompression } from '../base/compression/compression.ts';
import { decompressStream } from '../base/compression/decompress-stream.ts';
import { explainWriteError, NixferryError } from '../base/errors.ts';
import { type GitRef, isCarriedRef, parseGitRefs } from '../base/git-refs.ts';
import { LIMITS } from '../base/limits.ts';
import { baseNameOf, hashPartOf, type StorePathBaseName } from '../nix/store-path.ts';
import type { Mirror } from './mirror.ts';
import { narTopFiles } from './nar-top-files.ts';

/**
 * A repository travels as a store path, a folder with these files. What it had before is not in the bundle: that is in the path to which it refers, and so on; so the
 * references of paths say what an update builds on, to `pack`, `import` and everything else.
 */
export const BUNDLE_FILES = {
  /** `ref: refs/heads/main` and a line break. */
  head: 'HEAD',
  /** As in `info/refs`; all of them, whether their commits are new or not. */
  refs: 'refs',
  /** For people, who can fetch from it with git alone; what follows its head is a pack. */
  bundle: 'repository.bundle',
  /** The index of that pack, so that who serves it needs no git. */
  index: 'repository.idx',
} as const;

/** What a repository is, as of one bundle. */
export interface RepositoryState {
  /** The branch that HEAD stands for. */
  readonly head: string;
  readonly refs: readonly GitRef[];
}

/** Undefined when the path is not in the mirror; throws `damage` when it is no such folder. */
export async function readRepositoryState(
  mirror: Mirror,
  path: StorePathBaseName,
  signal?: AbortSignal,
): Promise<RepositoryState | undefined> {
  return withTopFiles(mirror, path, signal, async (files) => {
    let head: string | undefined;
    for await (const [name, contents] of files) {
      if (name === BUNDLE_FILES.head) head = parseHead(await readText(contents, 4096, path));
      if (name !== BUNDLE_FILES.refs) continue;
      const refs = parseGitRefs(await readText(contents, LIMITS.gitRefsBytes, path));
      if (refs !== undefined && head !== undefined) return { head, refs };
      break;
    }
    throw damaged(path, 'it does not say which branches and tags it has');
  });
}

/** Base names, what comes first first: the path itself is last. Throws `damage` when one of them is not in the mirror, or they are endless. */
export async function listBundles(mirror: Mirror, path: StorePathBaseName): Promise<StorePathBaseName[]> {
  const chain: StorePathBaseName[] = [path];
  for (let current: StorePathBaseName | undefined = path; current !== undefined; ) {
    const info = await mirror.readNarInfo(hashPartOf(current));
    if (info === undefined) throw damaged(current, 'it is not in the mirror');
    const [before, ...others]: StorePathBaseName[] = info.references.map(baseNameOf).filter((one) => one !== current);
    if (others.length > 0 || chain.length > LIMITS.gitBundlesFollowed) throw damaged(current, 'it builds on too much');
    if (before !== undefined) chain.push(before);
    current = before;
  }
  return chain.toReversed();
}

/** A pack and its index as two files. */
export interface UnpackedPack {
  /** The checksum that its name has in a repository; undefined for a pack of nothing. */
  readonly checksum: string | undefined;
}

/** Writes pack and index to files that do not exist yet. Throws `damage` when the pack is not whole, or the index is another one's. */
export async function unpackBundle(
  mirror: Mirror,
  path: StorePathBaseName,
  files: { readonly pack: string; readonly index: string },
  signal?: AbortSignal,
): Promise<UnpackedPack> {
  const unpacked = await withTopFiles(mirror, path, signal, async (entries) => {
    let pack: PackEnd | undefined;
    let index: Buffer | undefined;
    for await (const [name, contents] of entries) {
      if (name === BUNDLE_FILES.bundle) pack = await writePack(files.pack, contents, path);
      else if (name === BUNDLE_FILES.index) index = await writeIndex(files.index, contents);
    }
    if (pack === undefined || index === undefined) throw damaged(path, 'it lacks its pack');
    if (!index.equals(pack.checksum)) throw damaged(path, 'its index is that of another pack');
    return { checksum: pack.isEmpty ? undefined : pack.checksum.toString('hex') };
  });
  if (unpacked === undefined) throw damaged(path, 'it is not in the mirror');
  return unpacked;
}

interface PackEnd {
  readonly checksum: Buffer;
  readonly isEmpty: boolean;
}

const SHA1_BYTES = 20;

/** All behind the empty line that ends the head of a bundle: `PACK`, a version, the number of objects, the objects, and the sha1 of all that. */
async function writePack(file: string, bundle: AsyncIterable<Uint8Array>, path: string): Promise<PackEnd> {
  const sha1 = createHash('sha1');
  let isEmpty: boolean | undefined;
  // The checksum is what comes last, and is known as such only then.
  let held: Buffer = Buffer.alloc(0);
  await writeFile(file, async (handle) => {
    for await (const chunk of afterHead(bundle, path)) {
      const bytes = Buffer.concat([held, chunk]);
      if (isEmpty === undefined && bytes.length >= 12) isEmpty = bytes.readUInt32BE(8) === 0;
      const known = Math.max(0, bytes.length - Math.max(SHA1_BYTES, 12));
      sha1.update(bytes.subarray(0, known));
      held = Buffer.from(bytes.subarray(known));
      await handle.writeFile(chunk);
    }
  });
  const checksum = held.subarray(-SHA1_BYTES);
  sha1.update(held.subarray(0, -SHA1_BYTES));
  if (isEmpty === undefined || !sha1.digest().equals(checksum)) throw damaged(path, 'its pack is not whole');
  return { checksum, isEmpty };
}

/** Whether the last 20 bytes are the sha1 of all before them, as in packs and their indexes, and where it is given this one. */
export async function endsWithItsSha1(
  bytes: AsyncIterable<Uint8Array>,
  expected: string | undefined,
): Promise<boolean> {
  const sha1 = createHash('sha1');
  let held: Buffer = Buffer.alloc(0);
  for await (const chunk of bytes) {
    const all = Buffer.concat([held, chunk]);
    const known = Math.max(0, all.length - SHA1_BYTES);
    sha1.update(all.subarray(0, known));
    held = Buffer.from(all.subarray(known));
  }
  return sha1.digest().equals(held) && (expected === undefined || held.toString('hex') === expected);
}

async function* afterHead(bundle: AsyncIterable<Uint8Array>, path: string): AsyncGenerator<Buffer, void, undefined> {
  let head: Buffer | undefined = Buffer.alloc(0);
  for await (const chunk of bundle) {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    if (head === undefined) {
      yield bytes;
      continue;
    }
    head = Buffer.concat([head, bytes]);
    const end = head.indexOf('\n\n');
    if (end >= 0) {
      if (head.toString('latin1', end + 2, end + 6) !== 'PACK' && head.length >= end + 6) {
        throw damaged(path, 'its bundle holds no pack');
      }
      yield head.subarray(end + 2);
      head = undefined;
    } else if (head.length > LIMITS.gitRefsBytes) {
      throw damaged(path, 'its bundle has no end of its head');
    }
  }
}

/** Resolves to the checksum of the pack that it is of, which comes before its own. */
async function writeIndex(file: string, contents: AsyncIterable<Uint8Array>): Promise<Buffer> {
  let end: Buffer = Buffer.alloc(0);
  await writeFile(file, async (handle) => {
    for await (const chunk of contents) {
      end = Buffer.concat([end, chunk]).subarray(-2 * SHA1_BYTES);
      await handle.writeFile(chunk);
    }
  });
  return end.subarray(0, SHA1_BYTES);
}

async function writeFile(file: string, write: (handle: FileHandle) => Promise<void>): Promise<void> {
  try {
    await using handle = await open(file, 'wx');
    await write(handle);
  } catch (error) {
    throw explainWriteError(error, file);
  }
}

type TopFiles = ReturnType<typeof narTopFiles>;

/** Undefined when the path is not in the mirror. */
async function withTopFiles<Result>(
  mirror: Mirror,
  path: StorePathBaseName,
  signal: AbortSignal | undefined,
  read: (files: TopFiles) => Promise<Result>,
): Promise<Result | undefined> {
  const info = await mirror.readNarInfo(hashPartOf(path));
  const compression = info === undefined ? undefined : asCompression(info.compression);
  const nar = info === undefined ? undefined : await mirror.storage.open(info.url);
  if (info === undefined || compression === undefined || nar === undefined) return undefined;
  try {
    return await read(narTopFiles(decompressStream(compression, nar.stream, { maxBytes: info.narSizeBytes, signal })));
  } finally {
    nar.stream.destroy();
  }
}

function parseHead(text: string): string | undefined {
  const [, branch = ''] = /^ref: (\S+)\n?$/.exec(text) ?? [];
  return branch.startsWith('refs/heads/') && isCarriedRef(branch) ? branch : undefined;
}

async function readText(contents: AsyncIterable<Uint8Array>, maxBytes: number, path: string): Promise<string> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of contents) {
    sizeBytes += chunk.length;
    if (sizeBytes > maxBytes) throw damaged(path, 'a file of it is too long');
    chunks.push(Buffer.from(chunk));
  }
  return Buffer.concat(chunks).toString('utf8');
}

function damaged(path: string, why: string): NixferryError {
  return new NixferryError('damage', `the repository in ${path} cannot be used: ${why}`, {
    hint: 'type nixferry verify; if it finds nothing, the sender must collect the repository again',
  });
}
