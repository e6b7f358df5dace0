import type { Compression } from '../base/compression/compression.ts';
import { decompressStream } from '../base/compression/decompress-stream.ts';
import { NixferryError } from '../base/errors.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { nixRootRequest, nixRootSystem } from '../mirror/nix-root.ts';
import {
  hashPartOf,
  type NarInfo,
  type PublicKey,
  parseHash,
  type StorePath,
  type StorePathBaseName,
  storePathFromBaseName,
} from '../nix/index.ts';
import { narInMirror } from '../store/mirror-closure.ts';
import type { PackedClosure } from '../store/unpack-closure.ts';
import { type StagedShipment, stageShipment } from './describe/staged-shipment.ts';
import { type NeedLine, narInfoOf } from './inventory.ts';
import { MediumReader, VolumeMissing } from './medium-reader.ts';
import { findVolumes } from './read-shipment.ts';
import { authenticate } from './sender.ts';
import { StreamWalker } from './stream-layout.ts';
import { tarHeaderBytes } from './tar-header.ts';

/** A Nix as a shipment carries it, to be unpacked right from the medium. */
export interface ShippedNix extends AsyncDisposable {
  readonly storePath: StorePath;
  readonly closure: PackedClosure<NarInfo>;
}

export interface ShippedNixOptions {
  readonly directories: readonly string[];
  /** Keys of senders that count. */
  readonly trusted: readonly PublicKey[];
  /** The kind of machine that it must be for. */
  readonly system: string;
  /** Where paths are that the shipment does not carry because the site has them. */
  readonly mirror?: Mirror | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Finds the Nix among the roots of a shipment whose signature holds. Nothing is unpacked or believed but what the signed inventory names.
 * Throws `not-trusted`, `damage`; `bad-root` when no Nix for that kind of machine travels along; `basis-missing` when a part of it came earlier
 * and is not in the mirror, either.
 */
export async function openShippedNix(options: ShippedNixOptions): Promise<ShippedNix> {
  const { directories, trusted, system, mirror, signal } = options;
  await using opened = new AsyncDisposableStack();
  const staged = opened.use(await stageShipment(directories, signal));
  authenticate(staged.shipment, trusted);
  const { rootPath, carried, needs } = await readNixRoot(staged, system);
  const { storeDir, volumes } = staged.manifest;
  const kept = await findInMirror(needs, mirror, storeDir);
  const found = await findVolumes(staged.shipment, staged.manifest);
  const walker = new StreamWalker(volumes.map(({ sizeBytes }) => sizeBytes));
  const reader = opened.use(new MediumReader(found, walker, signal));
  const places = new Map(carried.map((path) => [path.info.storePath, path]));
  const resources = opened.move();
  return {
    storePath: storePathFromBaseName(rootPath, storeDir),
    closure: {
      paths: [...kept, ...carried.map(({ info }) => info)],
      nar(info, narSignal) {
        const place = places.get(info.storePath);
        if (place !== undefined) return narOnMedium(reader, place, narSignal);
        if (mirror === undefined) throw new Error(`${info.storePath} is neither on the medium nor in a mirror`);
        return narInMirror(mirror, info, narSignal);
      },
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

interface CarriedPath {
  readonly info: NarInfo;
  readonly compression: Compression;
  /** In the stream. */
  readonly position: number;
  readonly fileSizeBytes: number;
}

interface NixRoot {
  readonly rootPath: StorePathBaseName;
  readonly carried: readonly CarriedPath[];
  readonly needs: readonly NeedLine[];
}

async function readNixRoot(staged: StagedShipment, system: string): Promise<NixRoot> {
  const { storeDir } = staged.manifest;
  const request = nixRootRequest(system);
  const carried: CarriedPath[] = [];
  const needs: NeedLine[] = [];
  let index: number | undefined;
  let seen = 0;
  const { roots } = await staged.checkInventory((entry) => {
    if (entry.type === 'root') {
      if (entry.line.request === request) index = seen;
      seen += 1;
    } else if (index === undefined) return;
    else if (entry.type === 'need' && entry.line.roots.includes(index)) needs.push(entry.line);
    else if (entry.type === 'path' && entry.line.roots.includes(index)) {
      carried.push({
        info: narInfoOf(entry.line, storeDir),
        compression: entry.line.nar.compression,
        position: entry.nar.position + tarHeaderBytes(entry.nar.member),
        fileSizeBytes: entry.line.nar.sizeBytes,
      });
    }
  });
  const rootPath = index === undefined ? undefined : roots[index]?.rootPaths[0];
  if (rootPath !== undefined) return { rootPath: rootPath as StorePathBaseName, carried, needs };
  const others = roots.map(nixRootSystem).filter((one) => one !== undefined);
  throw new NixferryError('bad-root', `${staged.shipment.folder} carries no Nix for ${system}`, {
    hint: `${others.length === 0 ? '' : `it carries one for ${others.join(' and ')}; `}on the connected side: nixferry get-nix --system ${system}, then nixferry pack --with-nix`,
  });
}

async function findInMirror(
  needs: readonly NeedLine[],
  mirror: Mirror | undefined,
  storeDir: string,
): Promise<NarInfo[]> {
  const found: NarInfo[] = [];
  for (const { path, narHash, sequence } of needs) {
    const storePath = storePathFromBaseName(path as StorePathBaseName, storeDir);
    const info = await mirror?.readNarInfo(hashPartOf(storePath));
    if (info === undefined || info.narHash !== parseHash(narHash)) {
      const earlier = sequence === undefined ? 'an earlier shipment' : `shipment ${sequence}`;
      throw new NixferryError('basis-missing', `${storePath} is not on this medium: it came with ${earlier}`, {
        hint: `take the medium of ${earlier}; or do this on the machine with the mirror (--mirror DIR); or have Nix sent as a whole: nixferry pack --with-nix --full`,
      });
    }
    found.push(info);
  }
  return found;
}

async function* narOnMedium(
  reader: MediumReader,
  { info, compression, position, fileSizeBytes }: CarriedPath,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    const file = reader.stream(position, fileSizeBytes, 0);
    yield* decompressStream(compression, file, { maxBytes: info.narSizeBytes, signal });
  } catch (error) {
    if (!(error instanceof VolumeMissing)) throw error;
    throw new NixferryError('import-partial', `${info.storePath} lies in ${error.volume.name}, which is not here`, {
      hint: 'name all folders or discs that hold volumes of this shipment',
      cause: error,
    });
  }
}
