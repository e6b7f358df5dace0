import { asCompression, type Compression } from '../compression/compression.ts';
import { decompressStream } from '../compression/decompress-stream.ts';
import { HttpError } from './http-error.ts';

/**
 * Undoes a Content-Encoding. We ask for none, but caches store small files encoded (`narinfo-compression`,
 * `log-compression`) and then send them so to everybody.
 */
export function decodeContent(
  body: AsyncIterable<Uint8Array>,
  encoding: string | undefined,
  url: URL,
  options: { readonly maxBytes: number; readonly signal?: AbortSignal | undefined },
): AsyncIterable<Uint8Array> {
  const name = encoding?.trim().toLowerCase() ?? '';
  if (name === '' || name === 'identity' || name === 'none') return body;
  const compression = asCompression(name === 'x-gzip' ? 'gzip' : name) as Compression | undefined;
  if (compression === undefined) {
    throw new HttpError('refused', url, `the answer has a content encoding that Nixferry does not know`);
  }
  const { maxBytes, signal } = options;
  return decompressStream(compression, body, { maxBytes, ...(signal === undefined ? {} : { signal }) });
}
