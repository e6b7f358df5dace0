import { createHash, type Hash as Hasher } from 'node:crypto';
import { type Hash, hashAlgorithm, hashFromDigest } from '../nix/hash.ts';

/** The bytes of a file, whatever they hold. */
export interface HashedFile {
  readonly fileHash: Hash;
  /** In the algorithm that the narinfo uses for its FileHash; the same as `fileHash` where that is sha256 or not stated. */
  readonly statedFileHash: Hash;
  readonly fileSizeBytes: number;
}

/** Hashes a file as its bytes pass by. */
export class FileDigests {
  readonly #sha256: Hasher = createHash('sha256');
  readonly #statedAlgorithm: ReturnType<typeof hashAlgorithm>;
  readonly #stated: Hasher | undefined;
  #sizeBytes = 0;

  constructor({ fileHash }: { readonly fileHash?: Hash | undefined }) {
    this.#statedAlgorithm = fileHash === undefined ? 'sha256' : hashAlgorithm(fileHash);
    this.#stated = this.#statedAlgorithm === 'sha256' ? undefined : createHash(this.#statedAlgorithm);
  }

  update(bytes: Uint8Array): void {
    this.#sha256.update(bytes);
    this.#stated?.update(bytes);
    this.#sizeBytes += bytes.length;
  }

  /** To be called once. */
  finish(): HashedFile {
    const fileHash = hashFromDigest('sha256', this.#sha256.digest());
    const stated = this.#stated;
    return {
      fileHash,
      statedFileHash: stated === undefined ? fileHash : hashFromDigest(this.#statedAlgorithm, stated.digest()),
      fileSizeBytes: this.#sizeBytes,
    };
  }
}
