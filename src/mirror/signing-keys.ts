import { stat } from 'node:fs/promises';
import { NixferryError, systemErrorCode } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { SecretKey } from '../nix/signature.ts';
import { readSigningKeys } from './key-rotation.ts';
import { privateLayout } from './layout.ts';

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
      const keys = await readSigningKeys(place);
      if (keys.length > 0) return keys;
    } catch (error) {
      if (systemErrorCode(error) !== 'EACCES') throw error;
      throw new NixferryError('bad-key', `${secretKeyFile} cannot be read by this user`, {
        hint: 'what is offered from the local store and from upstreams is signed when it is asked for: run serve as the owner of that file',
        cause: error,
      });
    }
    throw new NixferryError('bad-key', `the mirror ${this.#directory} has no key to sign with`, {
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
