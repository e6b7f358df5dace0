import type { HttpClient } from '../base/http-client.ts';
import type { NarInfo } from '../nix/index.ts';
import { openUnbroken, type Transfer } from './unbroken-transfer.ts';
import type { NarOptions, Upstream } from './upstream.ts';

/** As `upstream.nar`, but its stream goes on by itself when the transfer breaks, as patiently as `http` is. */
export function openUnbrokenNar(
  upstream: Upstream,
  info: NarInfo,
  { offset, signal, http }: NarOptions & { readonly http: Pick<HttpClient, 'retries' | 'clock'> },
): Promise<Transfer> {
  const open = (from: number): Promise<Transfer> =>
    upstream.nar(info, { offset: from, ...(signal === undefined ? {} : { signal }) });
  return openUnbroken(open, {
    offset,
    expectedBytes: info.fileSizeBytes,
    retries: http.retries,
    clock: http.clock,
    signal,
    url: upstream.url,
  });
}
