import { stat } from 'node:fs/promises';
import { NixferryError, systemErrorCode } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { readFormerKeys } from '../mirror/key-rotation.ts';
import { readSecretKey } from '../mirror/keys.ts';
import { privateLayout } from '../mirror/layout.ts';
import type { SecretKey } from '../nix/signature.ts';

/** The keys that the mirror signs with, for what is signed on demand; a rotation is seen within a second. */
export class SigningKeys {
  readonly #directory: string;
  #keys: readonly SecretKey[] = [];
  #token = '';
  #checkedMs = Number.NEGATIVE_INFINITY;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** The same array as long as nothing has changed. Throws `bad-key` when there is none, or none that this user may read. */
  async read(): Promise<readonly SecretKey[]> {
    const nowMs = performance.now();
    if (nowMs - this.#checkedMs < LIMITS.servedFolderCheckMs) return this.#keys;
    const { secretKeyFile, formerKeysFolder } = privateLayout(this.#directory);
    const token = `${await stateOf(secretKeyFile)} ${await stateOf(formerKeysFolder)}`;
    if (token !== this.#token) this.#keys = await this.#load(secretKeyFile);
    this.#token = token;
    this.#checkedMs = nowMs;
    return this.#keys;
  }

  async #load(secretKeyFile: string): Promise<readonly SecretKey[]> {
    const place = { directory: this.#directory };
    try {
      const current = await readSecretKey(place);
      if (current !== undefined) return [current.key, ...(await readFormerKeys(place))];
    } catch (error) {
      if (systemErrorCode(error) !== 'EACCES') throw error;
      throw new NixferryError('bad-key', `${secretKeyFile} cannot be read by this user`, {
        hint: 'what is offered from the local store is signed when it is asked for: run serve as the owner of that file',
        cause: error,
      });
    }
    throw new NixferryError('bad-key', `the mirror ${this.#directory} has no key to sign the local store with`, {
      hint: `type: nixferry init --mirror ${this.#directory}`,
    });
  }
}

async function stateOf(path: string): Promise<string> {
  try {
    const { ino, mtimeNs } = await stat(path, { bigint: true });
    return `${ino}:${mtimeNs}`;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return 'none';
    if (systemErrorCode(error) === 'EACCES') return 'closed';
    throw error;
  }
}
