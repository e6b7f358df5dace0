import { NarParser } from '../nix/nar-reader.ts';

/**
 * The bytes from `start` to `end`, both included, of the one file that a NAR holds. What comes before is read and dropped; nothing after is read.
 * @throws NixFormatError when this is no NAR, or ends too soon.
 */
export async function* flatContents(
  nar: AsyncIterable<Uint8Array>,
  start: number,
  end: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  let pieces: Uint8Array[] = [];
  const parser = new NarParser({ contents: (piece) => void pieces.push(piece) });
  let position = 0;
  for await (const chunk of nar) {
    parser.push(chunk);
    const arrived = pieces;
    pieces = [];
    for (const piece of arrived) {
      const from = Math.max(0, start - position);
      const to = Math.min(piece.length, end + 1 - position);
      position += piece.length;
      if (from < to) yield piece.subarray(from, to);
    }
    if (position > end) return;
  }
  // A length was promised for all of it.
  parser.end();
}

/** How long the one file is that a NAR holds, from its beginning; undefined when it holds something else. @throws NixFormatError when this is no NAR. */
export async function fileSizeIn(nar: AsyncIterable<Uint8Array>): Promise<number | undefined> {
  let found: number | 'other' | undefined;
  const parser = new NarParser({
    regular: ({ sizeBytes }) => {
      found ??= sizeBytes;
    },
    directory: () => {
      found ??= 'other';
    },
    symlink: () => {
      found ??= 'other';
    },
  });
  for await (const chunk of nar) {
    parser.push(chunk);
    if (found !== undefined) break;
  }
  return found === 'other' ? undefined : found;
}
