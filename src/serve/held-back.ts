import { createHash } from 'node:crypto';
import { type Hash, hashAlgorithm, hashFromDigest } from '../nix/hash.ts';

export interface ExpectedBytes {
  readonly hash: Hash;
  readonly sizeBytes: number;
}

/**
 * The bytes from `start` to `end`, both included, of a source that must prove to be what is expected: the last piece of them is held back until the
 * whole source has been read and hashed, so that whoever has got the full length has got the right bytes. Throws when the source is
 * anything else, or breaks off; the connection must be broken off then.
 */
export async function* heldBack(
  source: AsyncIterable<Uint8Array>,
  expected: ExpectedBytes,
  start: number,
  end: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  const algorithm = hashAlgorithm(expected.hash);
  const digest = createHash(algorithm);
  let position = 0;
  let held: Uint8Array | undefined;
  for await (const chunk of source) {
    digest.update(chunk);
    const wanted = chunk.subarray(Math.max(0, start - position), Math.max(0, end + 1 - position));
    position += chunk.length;
    if (position > expected.sizeBytes) throw new WrongBytes(`it is longer than ${expected.sizeBytes} bytes`);
    if (wanted.length === 0) continue;
    if (held !== undefined) yield held;
    held = wanted;
  }
  if (position !== expected.sizeBytes) throw new WrongBytes(`it has ${position} of ${expected.sizeBytes} bytes`);
  const hash = hashFromDigest(algorithm, digest.digest());
  if (hash !== expected.hash) throw new WrongBytes(`it hashes to ${hash}, not to ${expected.hash}`);
  if (held !== undefined) yield held;
}

/** What was read is whole, and not what it should be. */
export class WrongBytes extends Error {
  override readonly name = 'WrongBytes';
}
