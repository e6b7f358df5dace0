import { asCompression } from '../base/compression/compression.ts';
import { decompressStream } from '../base/compression/decompress-stream.ts';
import type { HttpClient } from '../base/http-client.ts';
import type { HashPart } from '../nix/index.ts';
import { openUnbrokenNar } from './unbroken-nar.ts';
import type { UpstreamSet } from './upstream-set.ts';

/**
 * The NAR of a path as it streams from the first upstream that has it, decompressed and not checked: for a look into it before it is fetched.
 * Undefined when nobody has it, or in a compression that cannot be read.
 */
export async function narFromUpstream(
  upstreams: Pick<UpstreamSet, 'find'>,
  hashPart: HashPart,
  { http, signal }: { readonly http: HttpClient; readonly signal: AbortSignal },
): Promise<AsyncIterable<Uint8Array> | undefined> {
  const found = await upstreams.find(hashPart, { signal });
  const compression = found === undefined ? undefined : asCompression(found.info.compression);
  if (found === undefined || compression === undefined) return undefined;
  const { stream } = await openUnbrokenNar(found.upstream, found.info, { http, signal });
  return decompressStream(compression, stream, { maxBytes: found.info.narSizeBytes, signal });
}
