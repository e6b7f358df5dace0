import { stat } from 'node:fs/promises';
import { systemErrorCode } from '../base/errors.ts';
import { showUrl } from '../base/http/shown-url.ts';
import { type HttpClient, HttpError } from '../base/http-client.ts';
import { LIMITS } from '../base/limits.ts';
import { PartialFile } from '../mirror/partial-file.ts';
import { openHttpTransfer } from '../upstream/http-transfer.ts';
import { openUnbroken } from '../upstream/unbroken-transfer.ts';

export interface DownloadOptions {
  readonly http: HttpClient;
  readonly signal: AbortSignal;
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

export interface Download {
  readonly sizeBytes: number;
  /** How much of it an earlier run had brought: should the whole be wrong, that may be to blame. */
  readonly resumedBytes: number;
}

/**
 * Brings what is at an address into a file, and goes on with what is there of it already. A transfer that breaks is taken up again;
 * what has come stays when it fails, or is stopped.
 * @throws HttpError, `no-space`, and the signal's reason.
 */
export async function download(url: URL, file: string, options: DownloadOptions): Promise<Download> {
  const { http, signal, onBytes } = options;
  const { retries, clock } = http;
  const offset = await sizeOf(file);
  const open = (from: number) =>
    openHttpTransfer(http, url, { offset: from, decodedBytesMax: LIMITS.sourceFileBytes, signal });
  const transfer = await openUnbroken(open, { offset, retries, clock, signal, url: showUrl(url) });
  await using partial = new PartialFile(file, transfer.offset);
  for await (const chunk of transfer.stream) {
    if (partial.sizeBytes + chunk.length > LIMITS.sourceFileBytes) {
      throw new HttpError('too-large', url, `larger than ${LIMITS.sourceFileBytes} bytes`);
    }
    await partial.append(chunk);
    onBytes?.(chunk.length);
  }
  await partial.finish();
  return { sizeBytes: partial.sizeBytes, resumedBytes: transfer.offset };
}

async function sizeOf(file: string): Promise<number> {
  try {
    return (await stat(file)).size;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return 0;
    throw error;
  }
}
