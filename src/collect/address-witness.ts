import { createHash } from 'node:crypto';
import {
  type ContentAddress,
  contentAddressNamesPath,
  formatContentAddress,
  type Hash,
  hashFromDigest,
  NarParser,
  type StorePath,
} from '../nix/index.ts';

/** What is known of a path whose NAR has gone by. */
export interface WitnessedPath {
  readonly storePath: StorePath;
  readonly references: readonly StorePath[];
  readonly narHash: Hash;
}

/**
 * Watches a NAR go by and says which content address explains the path's name: a local store does not tell, and with a `CA:` any client
 * can check the path without a signature. Knows the ways in which Nix makes sources, `.drv` files and fixed outputs with sha256.
 */
export class AddressWitness {
  readonly #flat = createHash('sha256');
  #isPlainFile = false;
  #parser: NarParser | undefined = new NarParser({
    regular: ({ path, executable }) => {
      this.#isPlainFile = path.length === 0 && !executable;
    },
    directory: () => this.#ignoreTheRest(),
    symlink: () => this.#ignoreTheRest(),
    contents: (chunk) => void this.#flat.update(chunk),
  });

  push(chunk: Uint8Array): void {
    this.#parser?.push(chunk);
  }

  /** As `CA:` has it; undefined where no address leads to the name, as with every output that is named by its derivation. */
  address({ storePath, references, narHash }: WitnessedPath): string | undefined {
    const addresses: ContentAddress[] = [{ method: 'nar', hash: narHash }];
    if (this.#isPlainFile) {
      const hash = hashFromDigest('sha256', this.#flat.digest());
      addresses.push({ method: 'text', hash }, { method: 'flat', hash });
    }
    const address = addresses.find((candidate) => namesPath(candidate, storePath, references));
    return address === undefined ? undefined : formatContentAddress(address);
  }

  #ignoreTheRest(): void {
    this.#parser = undefined;
  }
}

function namesPath(address: ContentAddress, path: StorePath, references: readonly StorePath[]): boolean {
  // The hash of a NAR that contains its own path is another one than NarHash.
  if (address.method === 'nar' && references.includes(path)) return false;
  return contentAddressNamesPath(address, path, references);
}
