import { hash } from 'node:crypto';

/** A strong validator (RFC 9110, 8.8.3) of bytes that are at hand. */
export function etagOfBytes(bytes: Uint8Array): string {
  return `"${hash('sha256', bytes, 'base64url').slice(0, 24)}"`;
}

/** A strong validator of a file whose name does not stand for its contents. */
export function etagOfFile(file: { readonly sizeBytes: number; readonly modifiedMs: number }): string {
  return `"${file.sizeBytes.toString(36)}-${file.modifiedMs.toString(36)}"`;
}

/** Whether an If-None-Match names this validator, so that 304 is the answer (weak comparison, RFC 9110, 13.1.2). */
export function matchesIfNoneMatch(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  if (header.trim() === '*') return true;
  return header.split(',').some((candidate) => candidate.trim().replace(/^W\//, '') === etag);
}

/** Whether an If-Range lets a Range count (strong comparison, RFC 9110, 13.1.5); we give no dates, so no date matches. */
export function matchesIfRange(header: string | undefined, etag: string): boolean {
  return header === undefined || header.trim() === etag;
}
