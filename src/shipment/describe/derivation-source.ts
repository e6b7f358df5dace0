import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Compression } from '../../base/compression/compression.ts';
import { decompressStream } from '../../base/compression/decompress-stream.ts';
import { NixferryError, systemErrorCode } from '../../base/errors.ts';
import { readFileIfExists } from '../../base/files.ts';
import { LIMITS } from '../../base/limits.ts';
import type { Mirror } from '../../mirror/mirror.ts';
import { readableCompression } from '../../mirror/nar-hash.ts';
import {
  baseNameOf,
  type Derivation,
  hashBytes,
  hashPartOf,
  makeTextPath,
  NarParser,
  NixFormatError,
  nameOf,
  parseDerivation,
  type StorePath,
  storeDirOf,
} from '../../nix/index.ts';
import type { WalkedLine } from '../inventory-walk.ts';
import { type MediumReader, VolumeMissing } from '../medium-reader.ts';
import { tarHeaderBytes } from '../tar-header.ts';

/** A place that may have the bytes of a `.drv`; undefined when it has not, or not whole. */
export type DerivationSource = (path: StorePath) => Promise<Buffer | undefined>;

/**
 * The derivation from the first source that has it. A `.drv` has a content address, so it proves itself wherever it was found: bytes that
 * do not hash to the path are passed over.
 */
export async function findDerivation(
  path: StorePath,
  sources: readonly DerivationSource[],
): Promise<Derivation | undefined> {
  for (const source of sources) {
    const bytes = await source(path);
    const derivation = bytes === undefined ? undefined : provenDerivation(path, bytes);
    if (derivation !== undefined) return derivation;
  }
  return undefined;
}

/** Parses a `.drv` whose bytes are what its store path says; undefined otherwise. */
export function provenDerivation(path: StorePath, bytes: Buffer): Derivation | undefined {
  const storeDir = storeDirOf(path);
  try {
    const derivation = parseDerivation(bytes, storeDir);
    const references = [...derivation.inputSources, ...derivation.inputDerivations.keys()];
    const proven = makeTextPath(nameOf(path), hashBytes('sha256', bytes), references, storeDir);
    return proven === path ? derivation : undefined;
  } catch (error) {
    if (error instanceof NixFormatError) return undefined;
    throw error;
  }
}

/** Where the volumes of a shipment hold its `.drv` files; filled while the inventory is checked. */
export class ShippedDerivations {
  readonly #places = new Map<string, ShippedNar>();

  add(line: WalkedLine): void {
    if (line.type !== 'path' || !line.line.path.endsWith('.drv')) return;
    const { path, nar, narSizeBytes } = line.line;
    this.#places.set(path, {
      contentsPosition: line.nar.position + tarHeaderBytes(line.nar.member),
      fileSizeBytes: nar.sizeBytes,
      compression: nar.compression,
      narSizeBytes,
    });
  }

  /** Reads them from the volumes that are there; what is missing or damaged counts as not there: import will say so. */
  source(reader: MediumReader, signal?: AbortSignal): DerivationSource {
    return async (path) => {
      const nar = this.#places.get(baseNameOf(path));
      if (nar === undefined || nar.narSizeBytes > LIMITS.derivationBytes) return undefined;
      try {
        const file = reader.stream(nar.contentsPosition, nar.fileSizeBytes, 0);
        return await fileInNar(decompressStream(nar.compression, file, { maxBytes: nar.narSizeBytes, signal }));
      } catch (error) {
        if (error instanceof VolumeMissing || isUnreadable(error)) return undefined;
        throw error;
      }
    };
  }
}

/** Reads from what clients of a mirror see. */
export function derivationsOfMirror(mirror: Mirror, signal?: AbortSignal): DerivationSource {
  return async (path) => {
    if (storeDirOf(path) !== mirror.storeDir) return undefined;
    try {
      const info = await mirror.readNarInfo(hashPartOf(path));
      if (info === undefined || info.narSizeBytes > LIMITS.derivationBytes) return undefined;
      const file = await mirror.storage.open(info.url);
      if (file === undefined) return undefined;
      try {
        const options = { maxBytes: info.narSizeBytes, signal };
        return await fileInNar(decompressStream(readableCompression(info), file.stream, options));
      } finally {
        file.stream.destroy();
      }
    } catch (error) {
      if (isUnreadable(error)) return undefined;
      throw error;
    }
  };
}

/** Reads from the store of this machine, as files; Nix itself is not asked. `storeDir` is not a shipment's word but this machine's. */
export function derivationsOfStore(storeDir: string): DerivationSource {
  return async (path) => {
    if (storeDirOf(path) !== storeDir) return undefined;
    const file = join(storeDir, baseNameOf(path));
    // Most are not there, and a failing open costs ten times as much.
    if (!existsSync(file)) return undefined;
    try {
      return await readFileIfExists(file, LIMITS.derivationBytes);
    } catch (error) {
      if (isUnreadable(error) || UNREADABLE_CODES.has(systemErrorCode(error))) return undefined;
      throw error;
    }
  };
}

interface ShippedNar {
  /** In the stream. */
  readonly contentsPosition: number;
  readonly fileSizeBytes: number;
  readonly compression: Compression;
  readonly narSizeBytes: number;
}

const UNREADABLE_CODES: ReadonlySet<string | undefined> = new Set(['EACCES', 'EPERM', 'EIO', 'ELOOP', 'ENXIO']);

function isUnreadable(error: unknown): boolean {
  return (
    error instanceof NixFormatError ||
    (error instanceof NixferryError && (error.code === 'damage' || error.code === 'program-missing'))
  );
}

/** The contents of the plain file that a NAR consists of; undefined when it is something else. */
async function fileInNar(nar: AsyncIterable<Uint8Array>): Promise<Buffer | undefined> {
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
  for await (const chunk of nar) parser.push(chunk);
  parser.end();
  return isFile ? Buffer.concat(chunks) : undefined;
}
