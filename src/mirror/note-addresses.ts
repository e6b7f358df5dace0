import { decompressBytes } from '../base/compression/decompress-bytes.ts';
import { mapConcurrent } from '../base/concurrency.ts';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { parseDerivation } from '../nix/derivation.ts';
import { stringAttribute } from '../nix/derivation-attributes.ts';
import { fixedOutput } from '../nix/derivation-output.ts';
import { NixFormatError } from '../nix/format-error.ts';
import { NarParser } from '../nix/nar-reader.ts';
import type { NarInfo } from '../nix/narinfo.ts';
import { hashPartOf } from '../nix/store-path.ts';
import type { KnownAddress } from './flat-files.ts';
import type { Mirror } from './mirror.ts';
import { readableCompression } from './nar-hash.ts';

/** A path that may be the derivation of something that Nix itself fetches. */
export type AddressCandidate = Pick<NarInfo, 'storePath' | 'url' | 'compression' | 'narHash' | 'narSizeBytes'>;

/**
 * Whether it may be one: such derivations have no inputs, so that they refer to nothing, and are short. Almost all others have a builder, and that
 * comes from somewhere.
 */
export function mayNameAddress(path: AddressCandidate & { readonly references: { readonly length: number } }): boolean {
  const { storePath, references, narSizeBytes } = path;
  return storePath.endsWith('.drv') && references.length === 0 && narSizeBytes <= LIMITS.fetchDerivationBytes;
}

/** Notes where Nix fetches the outputs of these derivations from: the bootstrap files, which no hash of a file can tell. Their NARs are in the storage. */
export async function noteAddresses(
  mirror: Mirror,
  paths: readonly AddressCandidate[],
  signal?: AbortSignal | undefined,
): Promise<void> {
  if (paths.length === 0) return;
  const read = (path: AddressCandidate) => readAddress(mirror, path, signal);
  const known = await mapConcurrent(paths, LIMITS.flatFilesHashedAtOnce, read, signal);
  const addresses = known.filter((one) => one !== undefined);
  if (addresses.length > 0) (await mirror.flatFiles()).putAddresses(addresses);
}

async function readAddress(
  { storage, storeDir }: Mirror,
  path: AddressCandidate,
  signal: AbortSignal | undefined,
): Promise<KnownAddress | undefined> {
  const bytes = await storage.read(path.url);
  if (bytes === undefined) return undefined;
  try {
    const nar = await decompressBytes(readableCompression(path), bytes, { maxBytes: path.narSizeBytes, signal });
    const derivation = parseDerivation(contentsOf(nar), storeDir);
    const output = derivation.outputs.get('out');
    const fixed = output === undefined ? undefined : fixedOutput(output);
    const url = stringAttribute(derivation, 'url');
    if (derivation.builder !== 'builtin:fetchurl' || fixed === undefined || url === undefined) return undefined;
    return { url, hashPart: hashPartOf(fixed.path) };
  } catch (error) {
    if (error instanceof NixFormatError || (error instanceof NixferryError && error.code === 'damage'))
      return undefined;
    throw error;
  }
}

function contentsOf(nar: Uint8Array): Buffer {
  const pieces: Buffer[] = [];
  const parser = new NarParser({ contents: (piece) => void pieces.push(Buffer.from(piece)) });
  parser.push(nar);
  parser.end();
  return Buffer.concat(pieces);
}
