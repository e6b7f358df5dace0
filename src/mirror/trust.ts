import { createReadStream } from 'node:fs';
import { decompressStream } from '../base/compression/decompress-stream.ts';
import { LIMITS } from '../base/limits.ts';
import type { NarInfo } from '../nix/narinfo.ts';
import { type PublicKey, trustedSignature } from '../nix/signature.ts';
import { contentAddressHolds } from './content-check.ts';
import { readableCompression } from './nar-hash.ts';

/** Why a path may be taken in, or why not. */
export type Trust =
  | { readonly trusted: true; readonly by: 'signature'; readonly keyName: string }
  | { readonly trusted: true; readonly by: 'content-address' }
  | { readonly trusted: false; readonly reason: string };

/**
 * Judges a narinfo: a signature by a trusted key, else a content address that holds. Signatures cover NarHash, so for both the NAR must have
 * been checked against it, as `intakeNar` does.
 * @param narFile the file that was taken in, compressed as `info` says; without it only a content address that equals NarHash can be judged
 */
export async function assessTrust(
  info: NarInfo,
  trustedKeys: readonly PublicKey[],
  narFile?: string,
  signal?: AbortSignal,
): Promise<Trust> {
  const signature = trustedSignature(info, trustedKeys);
  if (signature !== undefined) {
    return { trusted: true, by: 'signature', keyName: signature.slice(0, signature.indexOf(':')) };
  }
  const readBytes = narFile === undefined ? undefined : () => readNarBytes(info, narFile, signal);
  if (await contentAddressHolds(info, readBytes)) return { trusted: true, by: 'content-address' };
  return { trusted: false, reason: explain(info) };
}

async function* readNarBytes(info: NarInfo, narFile: string, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
  const file = createReadStream(narFile, { highWaterMark: LIMITS.fileChunkBytes });
  try {
    yield* decompressStream(readableCompression(info), file, { maxBytes: info.narSizeBytes, signal });
  } finally {
    file.destroy();
  }
}

function explain(info: NarInfo): string {
  const names = info.signatures.map((signature) => signature.slice(0, signature.indexOf(':')));
  const signed =
    names.length === 0 ? 'it has no signature' : `no trusted key signed it (signed by ${names.join(', ')})`;
  return info.contentAddress === undefined ? signed : `${signed}, and its content address does not prove it`;
}
