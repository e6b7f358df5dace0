import { NixferryError } from '../base/errors.ts';
import { GrowingBytes } from '../base/growing-bytes.ts';
import { LIMITS } from '../base/limits.ts';
import { Exclusive } from './exclusive.ts';
import type { NarPiece } from './nar-source.ts';
import type { PartialFile } from './partial-file.ts';

/**
 * Receives a whole file in memory of its own. What came is put into the partial file by the megabyte, and every few seconds of a slow transfer, or
 * of one that stands still, so that another process can go on with it; all that came is there when the transfer fails, unless as `damage`.
 * @param sizeBytes of the whole file, where it is known.
 */
export async function receiveHeld(
  pieces: AsyncIterable<NarPiece>,
  partial: PartialFile,
  sizeBytes: number | undefined,
): Promise<Buffer> {
  const received = new GrowingBytes(sizeBytes);
  if (partial.sizeBytes > 0) received.put(0, await partial.read());
  const writes = new Exclusive();
  const inTurn = (work: () => Promise<void>): Promise<void> => writes.run(partial.path, work);
  const flush = (): Promise<void> => inTurn(() => partial.append(received.bytes.subarray(partial.sizeBytes)));
  // What fails here fails again below, where somebody waits for it.
  const timer = setInterval(() => void flush().catch(() => {}), LIMITS.partialFlushMs);
  try {
    for await (const { position, bytes } of pieces) {
      if (position !== received.bytes.length) await inTurn(() => partial.truncate(0));
      received.put(position, bytes);
      if (received.bytes.length - partial.sizeBytes >= LIMITS.partialFlushBytes) await flush();
    }
    await flush();
  } catch (error) {
    if (!isDamage(error)) await flush();
    throw error;
  } finally {
    clearInterval(timer);
    await inTurn(async () => {}).catch(() => {});
  }
  return received.bytes;
}

export function isDamage(error: unknown): error is NixferryError {
  return error instanceof NixferryError && error.code === 'damage';
}
