import type { ByteRange } from '../mirror/storage.ts';

/**
 * What a Range header asks of a file (RFC 9110, 14.2): the bytes wanted, `unsatisfiable` (answer 416), or undefined for the
 * whole file. The whole file is also the answer, as the RFC allows, to several ranges at once, other units, and nonsense.
 */
export function parseRange(header: string | undefined, sizeBytes: number): ByteRange | 'unsatisfiable' | undefined {
  if (header === undefined) return undefined;
  const match = /^bytes=[ \t]*(\d*)-(\d*)[ \t]*$/i.exec(header);
  if (match === null) return undefined;
  const [, first = '', last = ''] = match;
  if (first === '') return last === '' ? undefined : suffixRange(Number(last), sizeBytes);
  const start = Number(first);
  const end = last === '' ? Number.POSITIVE_INFINITY : Number(last);
  if (end < start) return undefined;
  if (start >= sizeBytes) return 'unsatisfiable';
  return { start, end: Math.min(end, sizeBytes - 1) };
}

function suffixRange(lengthBytes: number, sizeBytes: number): ByteRange | 'unsatisfiable' | undefined {
  if (lengthBytes === 0) return 'unsatisfiable';
  // The end of an empty file can be had, but Content-Range has no way to write it.
  if (sizeBytes === 0) return undefined;
  return { start: Math.max(0, sizeBytes - lengthBytes), end: sizeBytes - 1 };
}
