import { Batches } from '../base/batches.ts';
import { decompressBytes } from '../base/compression/decompress-bytes.ts';
import { mapConcurrent } from '../base/concurrency.ts';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { NixFormatError } from '../nix/format-error.ts';
import { NarParser } from '../nix/nar-reader.ts';
import { type NarInfo, parseNarInfo } from '../nix/narinfo.ts';
import { hashPartOf, type StorePath } from '../nix/store-path.ts';
import { narInfoName } from './layout.ts';
import type { Mirror } from './mirror.ts';
import { readableCompression } from './nar-hash.ts';

/**
 * Reads `.drv` files from what clients of a mirror see, many at a time. Undefined for one that the mirror does not have, or not readable: the bytes
 * are to be judged by the path, which names them, so nothing else is checked here.
 */
export function derivationReader(
  mirror: Mirror,
  signal?: AbortSignal,
): (path: StorePath) => Promise<Buffer | undefined> {
  const batches = new Batches((paths: readonly StorePath[]) => readBatch(mirror, paths, signal));
  return (path) => batches.get(path);
}

async function readBatch(
  mirror: Mirror,
  paths: readonly StorePath[],
  signal: AbortSignal | undefined,
): Promise<ReadonlyMap<StorePath, Buffer>> {
  const { storage, storeDir } = mirror;
  const files = await storage.readMany(paths.map((path) => narInfoName(hashPartOf(path))));
  const infos: NarInfo[] = [];
  for (const [index, path] of paths.entries()) {
    const file = files[index];
    const info = file === undefined ? undefined : readNarInfo(file.bytes, storeDir);
    if (info?.storePath === path && isSmall(info)) infos.push(info);
  }
  const nars = await storage.readMany(infos.map(({ url }) => url));
  const found = new Map<StorePath, Buffer>();
  await mapConcurrent(infos.entries(), LIMITS.derivationDecodesInFlight, async ([index, info]) => {
    const nar = nars[index];
    const bytes = nar === undefined ? undefined : await readPlainFile(info, nar.bytes, signal);
    if (bytes !== undefined) found.set(info.storePath, bytes);
  });
  return found;
}

function isSmall({ narSizeBytes, fileSizeBytes }: NarInfo): boolean {
  return narSizeBytes <= LIMITS.derivationBytes && (fileSizeBytes ?? 0) <= LIMITS.derivationBytes;
}

function readNarInfo(bytes: Buffer, storeDir: string): NarInfo | undefined {
  try {
    return parseNarInfo(bytes, storeDir);
  } catch (error) {
    if (error instanceof NixFormatError) return undefined;
    throw error;
  }
}

/** The contents of the plain file that a NAR consists of; undefined when it is something else, or damaged. */
async function readPlainFile(
  info: NarInfo,
  file: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<Buffer | undefined> {
  try {
    const nar = await decompressBytes(readableCompression(info), file, { maxBytes: info.narSizeBytes, signal });
    const chunks: Buffer[] = [];
    let isFile = false;
    const parser = new NarParser({
      regular: ({ path }) => {
        isFile = path.length === 0;
      },
      contents: (chunk) => {
        if (isFile) chunks.push(Buffer.from(chunk));
      },
    });
    parser.push(nar);
    parser.end();
    return isFile ? Buffer.concat(chunks) : undefined;
  } catch (error) {
    if (error instanceof NixFormatError || isDamage(error)) return undefined;
    throw error;
  }
}

function isDamage(error: unknown): boolean {
  return error instanceof NixferryError && (error.code === 'damage' || error.code === 'program-missing');
}
