/** A Content-Range header: `range` is absent in the form that comes with 416, `totalBytes` where the server says `*`. */
export interface ContentRange {
  readonly range: { readonly start: number; readonly end: number } | undefined;
  readonly totalBytes: number | undefined;
}

/** RFC 9110, 14.4: `bytes 5-9/10`, `bytes 5-9/*`, `bytes * /10`; `undefined` for what is none of these or contradicts itself. */
export function parseContentRange(value: string | undefined): ContentRange | undefined {
  const match = /^bytes\s+(?:(\d{1,16})-(\d{1,16})|\*)\/(?:(\d{1,16})|\*)$/i.exec(value?.trim() ?? '');
  if (match === null) return undefined;
  const [, start, end, total] = match;
  const totalBytes = total === undefined ? undefined : Number(total);
  if (start === undefined || end === undefined) {
    return totalBytes === undefined ? undefined : { range: undefined, totalBytes };
  }
  const range = { start: Number(start), end: Number(end) };
  if (range.end < range.start || (totalBytes !== undefined && range.end >= totalBytes)) return undefined;
  return { range, totalBytes };
}
