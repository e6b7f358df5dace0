import { createReadStream } from 'node:fs';
import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Compression } from '../base/compression/compression.ts';
import { ByteBudget } from '../base/concurrency.ts';
import { NixferryError, systemErrorCode } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { releaseMemory } from '../base/release-memory.ts';
import { encodeBase32 } from '../nix/base32.ts';
import { type Hash, hashDigest } from '../nix/hash.ts';
import type { NarInfo } from '../nix/narinfo.ts';
import { Exclusive } from './exclusive.ts';
import { FileDigests } from './file-digests.ts';
import type { MirrorPlace } from './keys.ts';
import { narName, privateLayout } from './layout.ts';
import { hashBatchedNar, suitsBatch } from './nar-batch.ts';
import { hashFollowedNar, isSoonDecoded } from './nar-followed.ts';
import {
  type ExpectedNar,
  findFileMismatch,
  findMismatch,
  fitsMemory,
  type HashedNar,
  hashNarBytes,
  hashNarStream,
  maxFileBytes,
  readableCompression,
} from './nar-hash.ts';
import { type OpenNar, readNarSource } from './nar-source.ts';
import { PartialFile } from './partial-file.ts';
import { isDamage, receiveHeld } from './receive-held.ts';

export interface NarIntake {
  readonly mirror: MirrorPlace;
  readonly expected: ExpectedNar;
  /** Where the bytes come from: one transfer, which goes on by itself when it breaks; called again only to begin anew. */
  readonly open: OpenNar;
  /** False for a source that can be opened only once and from its beginning. Default true. */
  readonly reopens?: boolean;
  /** What the NAR is of, for error messages; the store path as a rule. */
  readonly what?: string;
  readonly signal?: AbortSignal | undefined;
  /** Bytes that came from the source, as they come. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
  /** All bytes have come and wait to be checked: whoever bounds transfers may begin another. Not called where both end together. */
  readonly onReceived?: (() => void) | undefined;
  /** How long the file is by now that will hold the NAR, for readers that follow it; less than before: it is begun anew, as another file. */
  readonly onWritten?: ((sizeBytes: number) => void) | undefined;
  /**
   * Whether somebody waits for the end: the NAR is decoded while it comes, so that the verdict follows the last byte closely. Otherwise it is decoded together
   * with others once all of it is here, which costs less.
   */
  readonly eager?: boolean | undefined;
  /** Where the file grows; default `.nixferry/partial`, which belongs to whoever holds the mirror's lock. */
  readonly partialFolder?: string | undefined;
}

export interface IntakenNar {
  /** In `.nixferry/partial`; `publish` (or `Storage.adopt`) makes it durable and moves it into place. */
  readonly file: string;
  /** sha256, whatever the narinfo used. */
  readonly fileHash: Hash;
  readonly fileSizeBytes: number;
  readonly compression: Compression;
  /** Where `publish` will put it. */
  readonly url: string;
}

/**
 * Takes a NAR in, verbatim: writes the file and checks FileHash, FileSize, NarHash and NarSize in the same pass. What an earlier try, or an
 * earlier process, left behind is checked and continued. Throws `damage` when the bytes are not what `expected` says (nothing is left then),
 * `no-space`, `program-missing`, and the source's own errors, after which the same call goes on where this one stopped.
 */
export async function intakeNar(intake: NarIntake): Promise<IntakenNar> {
  const compression = readableCompression(intake.expected);
  const file = partialNarFile(intake, compression);
  // The same bytes wanted twice (two paths with the same contents) must not be written by two at once.
  const hashed = await sameFile.run(file, () => takeIn(intake, file));
  const { fileHash, fileSizeBytes } = hashed;
  return { file, fileHash, fileSizeBytes, compression, url: narName(hashDigest(fileHash), compression) };
}

type PartialNar = Pick<NarIntake, 'mirror' | 'expected' | 'partialFolder'>;

/** The file in which a NAR grows while `intakeNar` takes it in. */
export function partialNarFile(
  { mirror, expected, partialFolder }: PartialNar,
  compression: Compression = readableCompression(expected),
): string {
  const { narHash, fileHash } = expected;
  const suffix = fileHash === undefined ? 'any' : encodeBase32(hashDigest(fileHash).subarray(0, 10));
  const name = `${encodeBase32(hashDigest(narHash))}-${suffix}.${compression}`;
  return join(partialFolder ?? privateLayout(mirror.directory).partialFolder, name);
}

/** Whether an earlier call has brought all bytes of the file, as far as its size tells: `intakeNar` then checks them without opening the source. */
export async function isBroughtIn(intake: Pick<NarIntake, 'mirror' | 'expected'>): Promise<boolean> {
  const { fileSizeBytes } = intake.expected;
  return fileSizeBytes !== undefined && (await usablePartialBytes(intake)) === fileSizeBytes;
}

/** The narinfo as it will stand in the mirror: the same path and signatures, with the file that was taken in. */
export function withIntakenNar(info: NarInfo, nar: IntakenNar): NarInfo {
  const { compression, fileHash, fileSizeBytes, url } = nar;
  return { ...info, compression, fileHash, fileSizeBytes, url };
}

const sameFile = new Exclusive();
// Held from the first byte of a transfer to its last; what decodes has a budget of its own, so neither waits for the other for ever.
const receiveBudget = new ByteBudget(LIMITS.receiveMemoryBytes);

/** The source cannot skip to where an earlier process stopped, while what came before has been hashed already. */
class SourceRestarted extends Error {}

async function takeIn(intake: NarIntake, file: string): Promise<HashedNar> {
  let resume = intake.reopens ?? true;
  for (;;) {
    const start = resume ? await usablePartialBytes(intake) : 0;
    intake.onWritten?.(start);
    try {
      return await wayFor(intake)(intake, file, start);
    } catch (error) {
      resume = false;
      if (error instanceof SourceRestarted) continue;
      if (!isDamage(error)) throw error;
      await rm(file, { force: true });
      // What was here before may be to blame (a power cut, a changed upstream): begin anew, once.
      if (start === 0) throw named(intake, error);
    }
  }
}

function wayFor({ expected, eager = false }: NarIntake): typeof takeInMemory {
  if (eager) return isSoonDecoded(expected) ? takeInMemory : takeInFollowed;
  if (suitsBatch(expected)) return takeInBatch;
  return fitsMemory(expected) ? takeInMemory : takeInStream;
}

/** Decoded while it comes, whatever that costs. */
function takeInFollowed(intake: NarIntake, file: string, start: number): Promise<HashedNar> {
  const { expected, signal } = intake;
  const work = async (): Promise<HashedNar> =>
    checked(await hashFollowedNar(writeThrough(intake, file, start), file, expected, signal), expected);
  return receiveBudget.use(LIMITS.xzOneShotCompressedBytes, work, signal);
}

/** First to the disk, and from there decoded together with others. */
async function takeInBatch(intake: NarIntake, file: string, start: number): Promise<HashedNar> {
  const { expected, signal } = intake;
  const digests = new FileDigests(expected);
  await receiveBudget.use(
    LIMITS.batchReceiveBytes,
    async () => {
      for await (const chunk of writeThrough(intake, file, start)) digests.update(chunk);
    },
    signal,
  );
  intake.onReceived?.();
  const hashed = digests.finish();
  const mismatch = findFileMismatch(hashed, expected);
  if (mismatch !== undefined) throw new NixferryError('damage', mismatch);
  return checked(await hashBatchedNar(file, hashed, expected, signal), expected);
}

async function takeInMemory(intake: NarIntake, file: string, start: number): Promise<HashedNar> {
  const { expected, signal } = intake;
  const heldBytes = expected.fileSizeBytes ?? expected.narSizeBytes;
  const work = async (): Promise<HashedNar> => {
    await using partial = new PartialFile(file, start, intake.onWritten);
    const bytes = await receiveHeld(pieces(intake, start), partial, expected.fileSizeBytes);
    await partial.finish();
    intake.onReceived?.();
    // A file that turns out wrong is removed by the caller.
    const hashed = await hashNarBytes(bytes, expected, signal);
    releaseMemory(bytes);
    return checked(hashed, expected);
  };
  return receiveBudget.use(heldBytes, work, signal);
}

function takeInStream(intake: NarIntake, file: string, start: number): Promise<HashedNar> {
  // What the xz decoder may hold before it turns to the program that streams.
  return receiveBudget.use(LIMITS.xzOneShotCompressedBytes, () => streamIn(intake, file, start), intake.signal);
}

async function streamIn(intake: NarIntake, file: string, start: number): Promise<HashedNar> {
  const { expected, signal } = intake;
  return checked(await hashNarStream(writeThrough(intake, file, start), expected, { signal }), expected);
}

/** All bytes of the file, those of an earlier try too, each passed on when it has been written. */
async function* writeThrough(
  intake: NarIntake,
  file: string,
  start: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  await using partial = new PartialFile(file, start, intake.onWritten);
  if (start > 0) yield* createReadStream(file, { end: start - 1, highWaterMark: LIMITS.fileChunkBytes });
  for await (const { position, bytes } of pieces(intake, start)) {
    if (position !== partial.sizeBytes) throw new SourceRestarted();
    await partial.append(bytes);
    yield bytes;
  }
  await partial.finish();
}

async function* pieces(intake: NarIntake, start: number): ReturnType<typeof readNarSource> {
  const { expected, open, signal, onBytes } = intake;
  const limit = maxFileBytes(expected);
  const source = readNarSource({ open, start, sizeBytes: expected.fileSizeBytes, signal });
  for await (const piece of source) {
    if (piece.position + piece.bytes.length > limit) {
      throw new NixferryError('damage', `the file has more than the ${limit} bytes that it can have`);
    }
    onBytes?.(piece.bytes.length);
    yield piece;
  }
}

/** How much of the file an earlier try left; 0 when it is of no use. */
async function usablePartialBytes(intake: PartialNar): Promise<number> {
  const { fileSizeBytes } = intake.expected;
  // Where the whole size is not known, nobody can tell a whole file from a part.
  if (fileSizeBytes === undefined) return 0;
  try {
    const { size } = await stat(partialNarFile(intake));
    return size <= fileSizeBytes ? size : 0;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return 0;
    throw error;
  }
}

function checked(hashed: HashedNar, expected: ExpectedNar): HashedNar {
  const mismatch = findMismatch(hashed, expected);
  if (mismatch !== undefined) throw new NixferryError('damage', mismatch);
  return hashed;
}

function named(intake: NarIntake, error: NixferryError): NixferryError {
  const what = intake.what ?? `the NAR ${intake.expected.narHash}`;
  return new NixferryError('damage', `${what}: ${error.message}`, { hint: error.hint, cause: error });
}
