import { createHash } from 'node:crypto';
import { type Hash, type HashAlgorithm, hashFromDigest } from '../nix/hash.ts';
import type { HashPart } from '../nix/store-path.ts';

/**
 * Hashes a NAR as if its own store path were not in it: how a content address is made for a path that refers to itself. Each occurrence of the
 * hash part counts as zeros, and the places where they were are hashed at the end. (Nix: `HashModuloSink`)
 */
export class HashModulo {
  readonly #algorithm: HashAlgorithm;
  readonly #digest: ReturnType<typeof createHash>;
  readonly #selfBytes: Buffer;
  readonly #zeros: Buffer;
  readonly #places: number[] = [];
  /** The end of what came, as far as an occurrence may begin in it; not hashed yet. */
  #held: Buffer = Buffer.alloc(0);
  #hashedBytes = 0;

  constructor(algorithm: HashAlgorithm, self: HashPart) {
    this.#algorithm = algorithm;
    this.#digest = createHash(algorithm);
    this.#selfBytes = Buffer.from(self);
    this.#zeros = Buffer.alloc(this.#selfBytes.length);
  }

  push(chunk: Uint8Array): void {
    const bytes = Buffer.concat([this.#held, chunk]);
    for (let place = bytes.indexOf(this.#selfBytes); place !== -1; place = bytes.indexOf(this.#selfBytes, place)) {
      this.#places.push(this.#hashedBytes + place);
      this.#zeros.copy(bytes, place);
    }
    const heldBytes = Math.min(bytes.length, this.#selfBytes.length - 1);
    const hashed = bytes.length - heldBytes;
    this.#digest.update(bytes.subarray(0, hashed));
    this.#hashedBytes += hashed;
    this.#held = Buffer.from(bytes.subarray(hashed));
  }

  finish(): Hash {
    this.#digest.update(this.#held);
    for (const place of this.#places) this.#digest.update(`|${place}`);
    return hashFromDigest(this.#algorithm, this.#digest.digest());
  }
}
