import { isSequence } from './format.ts';

/** Numbers of shipments as people write them: `4`, `4-13`, `4-6,9`. */
export function formatSequences(sequences: Iterable<number>): string {
  const sorted = [...new Set(sequences)].sort((a, b) => a - b);
  const ranges: { first: number; last: number }[] = [];
  for (const sequence of sorted) {
    const range = ranges.at(-1);
    if (range !== undefined && range.last + 1 === sequence) range.last = sequence;
    else ranges.push({ first: sequence, last: sequence });
  }
  return ranges.map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`)).join(',');
}

/** The numbers that are meant, at most `most` of them; undefined when the text means none. */
export function parseSequences(text: string, most: number): number[] | undefined {
  const sequences = new Set<number>();
  for (const part of text.split(',')) {
    const found = /^([0-9]{1,9})(?:-([0-9]{1,9}))?$/.exec(part.trim());
    const first = Number(found?.[1]);
    const last = Number(found?.[2] ?? first);
    if (!isSequence(first) || !isSequence(last) || last < first || last - first >= most) return undefined;
    for (let sequence = first; sequence <= last; sequence++) sequences.add(sequence);
    if (sequences.size > most) return undefined;
  }
  return [...sequences].sort((a, b) => a - b);
}
