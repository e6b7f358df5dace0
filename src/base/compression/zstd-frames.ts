import { damaged } from './damage.ts';

/**
 * Cuts a zstd stream so that no chunk crosses the border between two frames: Node's decoder silently drops what follows a frame's end
 * within the same write. Throws `damage` when the stream ends inside a frame, is empty, or holds anything but frames.
 *
 * Source: RFC 8878, section 3 (frame header, block header, checksum, skippable frames).
 */
export async function* splitZstdFrames(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const tracker = new FrameTracker();
  for await (const chunk of source) {
    for (let start = 0; start < chunk.length; ) {
      const end = tracker.advance(chunk, start);
      yield chunk.subarray(start, end);
      start = end;
    }
  }
  if (!tracker.atFrameBorder) throw damaged('zstd', 'it ends in the middle of a frame');
}

type Part = 'magic' | 'skippable-size' | 'descriptor' | 'header' | 'block-header' | 'body' | 'checksum';

const FRAME_MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a50;

/** Follows the skeleton of frames and blocks without looking at their contents. */
class FrameTracker {
  #part: Part = 'magic';
  /** The bytes of the current part that have been seen, low byte first, and how many it has. */
  #value = 0;
  #seenBytes = 0;
  #wantedBytes = 4;
  /** Bytes left of the current part when its contents do not matter. */
  #skipBytes = 0;
  #hasChecksum = false;
  #lastBlock = false;
  #started = false;

  get atFrameBorder(): boolean {
    return this.#started && this.#part === 'magic' && this.#seenBytes === 0;
  }

  /** Reads `chunk` from `start` to the end of the current frame or of the chunk, whichever comes first, and says where that is. */
  advance(chunk: Uint8Array, start: number): number {
    let at = start;
    while (at < chunk.length) {
      if (this.#skipBytes > 0) {
        const skipped = Math.min(this.#skipBytes, chunk.length - at);
        this.#skipBytes -= skipped;
        at += skipped;
        if (this.#skipBytes > 0) break;
      } else {
        this.#value += (chunk[at++] ?? 0) * 2 ** (8 * this.#seenBytes);
        this.#seenBytes += 1;
        if (this.#seenBytes < this.#wantedBytes) continue;
      }
      this.#finishPart();
      if (this.#part === 'magic') return at;
    }
    return at;
  }

  #finishPart(): void {
    const value = this.#value;
    switch (this.#part) {
      case 'magic':
        this.#started = true;
        if (value === FRAME_MAGIC) return this.#read('descriptor', 1);
        if (value - (value % 16) === SKIPPABLE_MAGIC) return this.#read('skippable-size', 4);
        throw damaged('zstd', 'bytes that are no frame stand where a frame should begin');
      case 'skippable-size':
        this.#lastBlock = true;
        this.#hasChecksum = false;
        return this.#skip('body', value);
      case 'descriptor':
        this.#hasChecksum = (value & 0b100) !== 0;
        return this.#skip('header', frameHeaderBytes(value));
      case 'header':
        return this.#read('block-header', 3);
      case 'block-header':
        this.#lastBlock = (value & 1) !== 0;
        return this.#skip('body', blockBodyBytes(value));
      case 'body':
        if (!this.#lastBlock) return this.#read('block-header', 3);
        if (this.#hasChecksum) return this.#skip('checksum', 4);
        return this.#read('magic', 4);
      case 'checksum':
        return this.#read('magic', 4);
    }
  }

  #read(part: Part, bytes: number): void {
    this.#part = part;
    this.#value = 0;
    this.#seenBytes = 0;
    this.#wantedBytes = bytes;
  }

  #skip(part: Part, bytes: number): void {
    this.#part = part;
    this.#skipBytes = bytes;
    // A part without bytes is over before another byte comes, which may never come.
    if (bytes === 0) this.#finishPart();
  }
}

/** Bytes between the frame header's descriptor and the first block. */
function frameHeaderBytes(descriptor: number): number {
  const singleSegment = (descriptor & 0b10_0000) !== 0;
  const windowBytes = singleSegment ? 0 : 1;
  const dictionaryIdBytes = [0, 1, 2, 4][descriptor & 0b11] ?? 0;
  const contentSizeBytes = [singleSegment ? 1 : 0, 2, 4, 8][descriptor >>> 6] ?? 0;
  return windowBytes + dictionaryIdBytes + contentSizeBytes;
}

function blockBodyBytes(header: number): number {
  const type = (header >>> 1) & 0b11;
  if (type === 3) throw damaged('zstd', 'a block of a reserved type');
  const runLengthEncoded = type === 1;
  return runLengthEncoded ? 1 : header >>> 3;
}
