import { createHash } from 'node:crypto';
import { type ContentAddress, contentAddressNamesPath, parseContentAddress } from '../nix/content-address.ts';
import { NixFormatError } from '../nix/format-error.ts';
import { hashAlgorithm, hashFromDigest } from '../nix/hash.ts';
import { NarParser } from '../nix/nar-reader.ts';
import type { NarInfo } from '../nix/narinfo.ts';
import { hashPartOf } from '../nix/store-path.ts';
import { HashModulo } from './hash-modulo.ts';

/** Opens the NAR, decompressed; its bytes must have been checked against NarHash. */
export type ReadNarBytes = () => AsyncIterable<Uint8Array>;

/**
 * Whether `CA:` proves the path: the store path recomputes from it, and the contents hash to it. Only then nothing else need be trusted.
 * The NAR is read only where NarHash does not settle it; without `readBytes` such a path is not proven.
 */
export async function contentAddressHolds(info: NarInfo, readBytes?: ReadNarBytes): Promise<boolean> {
  const address = parseAddress(info.contentAddress);
  if (address === undefined || address.method === 'unknown') return false;
  if (!contentAddressNamesPath(address, info.storePath, info.references)) return false;
  const refersToItself = info.references.includes(info.storePath);
  if (address.method === 'nar' && !refersToItself && hashAlgorithm(address.hash) === hashAlgorithm(info.narHash)) {
    return address.hash === info.narHash;
  }
  if (readBytes === undefined) return false;
  try {
    if (address.method !== 'nar') return await fileHashesTo(address, readBytes());
    return refersToItself
      ? await narHashesModuloSelfTo(address, info, readBytes())
      : await narHashesTo(address, readBytes());
  } catch (error) {
    if (error instanceof NixFormatError) return false;
    throw error;
  }
}

type KnownAddress = Exclude<ContentAddress, { method: 'unknown' }>;

function parseAddress(text: string | undefined): ContentAddress | undefined {
  if (text === undefined) return undefined;
  try {
    return parseContentAddress(text);
  } catch (error) {
    if (error instanceof NixFormatError) return undefined;
    throw error;
  }
}

/** `flat` and `text` address the bytes of one plain file: anything else in the NAR would be contents that nobody has hashed. */
async function fileHashesTo(address: KnownAddress, nar: AsyncIterable<Uint8Array>): Promise<boolean> {
  const algorithm = hashAlgorithm(address.hash);
  const digest = createHash(algorithm);
  let isPlainFile = false;
  const parser = new NarParser({
    regular: ({ path, executable }) => {
      isPlainFile = path.length === 0 && !executable;
    },
    contents: (chunk) => void digest.update(chunk),
  });
  for await (const chunk of nar) parser.push(chunk);
  parser.end();
  return isPlainFile && hashFromDigest(algorithm, digest.digest()) === address.hash;
}

async function narHashesTo(address: KnownAddress, nar: AsyncIterable<Uint8Array>): Promise<boolean> {
  const algorithm = hashAlgorithm(address.hash);
  const digest = createHash(algorithm);
  for await (const chunk of nar) digest.update(chunk);
  return hashFromDigest(algorithm, digest.digest()) === address.hash;
}

async function narHashesModuloSelfTo(
  address: KnownAddress,
  info: NarInfo,
  nar: AsyncIterable<Uint8Array>,
): Promise<boolean> {
  const modulo = new HashModulo(hashAlgorithm(address.hash), hashPartOf(info.storePath));
  for await (const chunk of nar) modulo.push(chunk);
  return modulo.finish() === address.hash;
}
