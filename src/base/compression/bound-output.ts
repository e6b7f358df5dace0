import type { Compression } from './compression.ts';
import { tooMuchOutput } from './damage.ts';

/** Passes `source` on, and throws `damage` (closing the source) as soon as it yields more than `maxBytes`. */
export async function* boundOutput(
  source: AsyncIterable<Buffer>,
  compression: Compression,
  maxBytes: number,
): AsyncGenerator<Buffer, void, undefined> {
  let sizeBytes = 0;
  for await (const chunk of source) {
    sizeBytes += chunk.length;
    if (sizeBytes > maxBytes) throw tooMuchOutput(compression, maxBytes);
    yield chunk;
  }
}
