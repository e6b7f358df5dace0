import { join } from 'node:path';

/** The header fields by which web servers are told to send a file: that of nginx, and that of Apache, lighttpd and others. */
export const SENDFILE_HEADERS = ['X-Accel-Redirect', 'X-Sendfile'] as const;
export type SendfileHeader = (typeof SENDFILE_HEADERS)[number];

/** Where the web server in front of us has the mirror for itself alone; part of the contract in docs/guide/behind-nginx.md. */
export const SENDFILE_PREFIX = '/nixferry-files/';

/**
 * nginx takes an address of its own, X-Sendfile a path; both are decoded by whoever reads them. `name` is that of a file of the mirror in
 * `directory`.
 */
export function formatSendfileValue(header: SendfileHeader, directory: string, name: string): string {
  const target = header === 'X-Sendfile' ? join(directory, name) : `${SENDFILE_PREFIX}${name}`;
  return encodeURI(target).replaceAll('?', '%3F').replaceAll('#', '%23');
}
