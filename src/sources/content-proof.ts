import { createHash } from 'node:crypto';
import { NixferryError } from '../base/errors.ts';
import { type ContentAddress, formatHash, type Hash, hashAlgorithm, hashFromDigest, NarParser } from '../nix/index.ts';

/** The bytes are sound, and they are not what was declared. */
export class WrongContents extends NixferryError {
  constructor(problem: string) {
    super('damage', problem);
  }
}

/** Watches a NAR go by and says at its end whether it is what an address declares. */
export class ContentProof {
  readonly #address: Extract<ContentAddress, { readonly hash: Hash }>;
  readonly #digest;
  #isPlainFile = false;
  readonly #parser: NarParser;

  /** @param address `flat` and `text` are of the bytes of one plain file, `nar` of all. */
  constructor(address: Extract<ContentAddress, { readonly hash: Hash }>) {
    this.#address = address;
    this.#digest = createHash(hashAlgorithm(address.hash));
    this.#parser = new NarParser({
      regular: ({ path, executable }) => {
        this.#isPlainFile = path.length === 0 && !executable;
      },
      contents: (chunk) => {
        if (address.method !== 'nar') this.#digest.update(chunk);
      },
    });
  }

  /** @throws NixFormatError when this is no NAR. */
  push(chunk: Uint8Array): void {
    this.#parser.push(chunk);
    if (this.#address.method === 'nar') this.#digest.update(chunk);
  }

  /** @throws WrongContents that says what there is instead; NixFormatError when the NAR is cut short. */
  finish(): void {
    this.#parser.end();
    const { method, hash: declared } = this.#address;
    if (method !== 'nar' && !this.#isPlainFile) throw new WrongContents('it is not one plain file');
    const found = hashFromDigest(hashAlgorithm(declared), this.#digest.digest());
    if (found === declared) return;
    throw new WrongContents(`its hash is ${formatHash(found, 'sri')}, not ${formatHash(declared, 'sri')}`);
  }
}

/** Passes a NAR on while it is watched; throws at its end, as `ContentProof.finish` does. */
export async function* proven(
  nar: AsyncIterable<Uint8Array>,
  proof: ContentProof,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of nar) {
    proof.push(chunk);
    yield chunk;
  }
  proof.finish();
}
