import { decodeContent } from '../base/http/content-encoding.ts';
import { parseContentRange } from '../base/http/content-range.ts';
import { type HttpClient, HttpError, type HttpResponse } from '../base/http-client.ts';
import type { Transfer } from './unbroken-transfer.ts';

export interface HttpTransferOptions {
  /** First byte wanted. */
  readonly offset: number;
  /** Bound on a body that comes in a Content-Encoding; such a body always begins at 0. */
  readonly decodedBytesMax: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Opens a file from `offset` on, or from 0 when the server does not begin in the middle, or begins elsewhere than asked.
 * An offset at the very end gives an empty stream. Throws HttpErrors.
 */
export async function openHttpTransfer(http: HttpClient, url: URL, options: HttpTransferOptions): Promise<Transfer> {
  const { offset, signal } = options;
  const common = signal === undefined ? {} : { signal };
  const response = await http.get(url, { ...common, rangeStart: offset, accept: [416] });
  const transfer = openAnswer(response, options);
  if (transfer !== undefined) return transfer;
  // What the server answered to the Range does not follow on from what we have: take all.
  response.body.cancel();
  return openWhole(await http.get(url, common), options);
}

/** The transfer that an answer to a request for a range holds; undefined when the answer is of no use. */
function openAnswer(response: HttpResponse, options: HttpTransferOptions): Transfer | undefined {
  const { status, headers, body } = response;
  if (status === 200) return openWhole(response, options);
  const { offset } = options;
  const contentRange = parseContentRange(headers['content-range']);
  if (status === 416) {
    if (contentRange?.totalBytes !== offset || offset === 0) return undefined;
    body.drain();
    return { stream: nothing(), offset, totalBytes: offset };
  }
  const isEncoded = (headers['content-encoding'] ?? 'identity') !== 'identity';
  if (isEncoded || contentRange?.range?.start !== offset) return undefined;
  return { stream: body, offset, etag: strongTag(headers['etag']), totalBytes: contentRange.totalBytes };
}

function openWhole(response: HttpResponse, { decodedBytesMax, signal }: HttpTransferOptions): Transfer {
  const { headers, body, url, status } = response;
  if (status !== 200) {
    body.cancel();
    throw new HttpError('refused', url, `the server answers ${status} to a request for the whole file`);
  }
  const encoding = headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity') {
    return { stream: decodeContent(body, encoding, url, { maxBytes: decodedBytesMax, signal }), offset: 0 };
  }
  const length = headers['content-length'];
  const totalBytes = length === undefined ? undefined : Number(length);
  return { stream: body, offset: 0, etag: strongTag(headers['etag']), totalBytes };
}

// A weak tag may stay the same while bytes change.
function strongTag(etag: string | undefined): string | undefined {
  return etag?.startsWith('"') === true ? etag : undefined;
}

async function* nothing(): AsyncGenerator<Uint8Array, void, undefined> {}
