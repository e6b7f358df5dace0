import { join } from 'node:path';
import { NixferryError, systemErrorCode } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { narNodeFromFileSystem } from '../evaluate/file-tree.ts';
import { openValidPaths, type ValidPath, type ValidPaths } from '../evaluate/valid-paths.ts';
import { SigningKeys } from '../mirror/signing-keys.ts';
import { encodeBase32 } from '../nix/base32.ts';
import { NixFormatError } from '../nix/format-error.ts';
import { type Hash, hashAlgorithm, hashDigest } from '../nix/hash.ts';
import { writeNar } from '../nix/nar-writer.ts';
import { formatNarInfo, type NarInfo } from '../nix/narinfo.ts';
import { isWellFormedSignature, type SecretKey, signNarInfo } from '../nix/signature.ts';
import { type HashPart, isHashPart } from '../nix/store-path.ts';
import { ByteCache } from './byte-cache.ts';
import { etagOfBytes } from './etag.ts';
import { formatNarInfoAnswer } from './express/express-answer.ts';
import { heldBack, WrongBytes } from './held-back.ts';
import type { LimitedLog } from './limited-log.ts';
import type { ServedNarInfo } from './narinfo-cache.ts';

export interface LocalStoreOptions {
  readonly mirrorDirectory: string;
  /** Where `/nix` lies: `/`, or the root of another store. */
  readonly root: string;
  readonly storeDir: string;
  readonly log: LimitedLog;
}

/** A path of the store as a NAR that can be had. */
export interface LocalNar {
  readonly path: ValidPath;
  /** The bytes from `start` to `end`, both included; the last ones only when the whole is what the database says. Throws WrongBytes. */
  read(start: number, end: number): AsyncIterable<Uint8Array>;
}

/** In front of the file names of NARs that are made on demand. */
export const LOCAL_NAR_PREFIX = 'local/';

/**
 * The paths of the server's own store, as if they were in the mirror: what is valid at this very moment, and nothing else. A narinfo is made and signed
 * when it is asked for; a NAR is read from the store while it is sent.
 */
export class LocalStore implements Disposable {
  readonly #root: string;
  readonly #paths: ValidPaths;
  readonly #keys: SigningKeys;
  readonly #log: LimitedLog;
  readonly #answers = new ByteCache<LocalAnswer>(LIMITS.localStoreCacheBytes);
  /** Found to be something else than the database says, by hash part; in which state of the database. */
  readonly #damaged = new Map<string, string>();

  private constructor(options: LocalStoreOptions, paths: ValidPaths, keys: SigningKeys) {
    this.#root = options.root;
    this.#log = options.log;
    this.#paths = paths;
    this.#keys = keys;
  }

  /** Throws `usage` when there is no such store, and `bad-key` when nothing could be signed. */
  static async open(options: LocalStoreOptions): Promise<LocalStore> {
    const keys = new SigningKeys(options.mirrorDirectory);
    await keys.read();
    return new LocalStore(options, openValidPaths(options.root, options.storeDir), keys);
  }

  async find(hashPart: HashPart): Promise<ServedNarInfo | undefined> {
    const path = this.#findSound(hashPart);
    if (path === undefined) return undefined;
    const keys = await this.#keys.read();
    const known = this.#answers.get(hashPart);
    if (known !== undefined && known.keys === keys && known.version === path.version) return known;
    const bytes = Buffer.from(formatNarInfo(signedInfo(path, keys)));
    const etag = etagOfBytes(bytes);
    const answer = { etag, answer: formatNarInfoAnswer(bytes, etag), version: path.version, keys };
    this.#answers.set(Buffer.from(hashPart).toString(), answer, answer.answer.length + path.version.length);
    return answer;
  }

  /** By the part of its address behind LOCAL_NAR_PREFIX; undefined when that path is not valid any more, or not with these contents. */
  async openNar(name: string): Promise<LocalNar | undefined> {
    const [, hashPart = '', digest = ''] = NAR_NAME.exec(name) ?? [];
    if (!isHashPart(hashPart)) return undefined;
    const path = this.#findSound(hashPart);
    if (path === undefined || digestOf(path.narHash) !== digest) return undefined;
    const node = await this.#openTree(path);
    if (node === undefined) return undefined;
    const read = (start: number, end: number) => this.#read(hashPart, path, writeNar(node), start, end);
    return { path, read };
  }

  [Symbol.dispose](): void {
    this.#paths[Symbol.dispose]();
  }

  #findSound(hashPart: HashPart): ValidPath | undefined {
    const path = this.#paths.find(hashPart);
    return path === undefined || this.#damaged.get(hashPart) === path.version ? undefined : path;
  }

  /** The store may be on its way to losing the path: then it is simply not here. */
  async #openTree({ storePath }: ValidPath) {
    try {
      return await narNodeFromFileSystem(join(this.#root, storePath));
    } catch (error) {
      if (systemErrorCode(error) === 'ENOENT') return undefined;
      if (systemErrorCode(error) !== 'EACCES' && !(error instanceof NixferryError)) throw error;
      this.#log.error({ storePath, err: error }, 'a path of the local store cannot be read');
      return undefined;
    }
  }

  async *#read(hashPart: HashPart, path: ValidPath, nar: AsyncIterable<Uint8Array>, start: number, end: number) {
    try {
      yield* heldBack(nar, { hash: path.narHash, sizeBytes: path.narSizeBytes }, start, end);
    } catch (error) {
      this.#log.error({ storePath: path.storePath, err: error }, 'transfer from the local store broken off');
      // Unless it has just been removed, it will not be better next time: clients are to look elsewhere.
      if (error instanceof WrongBytes && this.#paths.find(hashPart)?.version === path.version) {
        if (this.#damaged.size >= LIMITS.localStoreDamagedPaths) this.#damaged.clear();
        this.#damaged.set(hashPart, path.version);
      }
      throw isVanished(error) ? new WrongBytes('it vanished or changed while it was read', { cause: error }) : error;
    }
  }
}

/** As when garbage is collected meanwhile: files that are gone, or not as long as they were. */
function isVanished(error: unknown): boolean {
  return error instanceof NixFormatError || ['ENOENT', 'ENOTDIR', 'ELOOP'].includes(systemErrorCode(error) ?? '');
}

interface LocalAnswer extends ServedNarInfo {
  readonly version: string;
  readonly keys: readonly SecretKey[];
}

const NAR_NAME = /^([0-9a-z]{32})-([0-9a-z]{52})\.nar$/;

/** The narinfo of a path of the store. What the store knows of signatures is kept, unless newer Nix could not read the narinfo for it. */
function signedInfo(path: ValidPath, keys: readonly SecretKey[]): NarInfo {
  const { storePath, narHash, narSizeBytes, references, deriver, signatures, contentAddress } = path;
  const info: NarInfo = {
    storePath,
    url: `${LOCAL_NAR_PREFIX}${storePath.slice(storePath.lastIndexOf('/') + 1).slice(0, 32)}-${digestOf(narHash)}.nar`,
    compression: 'none',
    fileHash: narHash,
    fileSizeBytes: narSizeBytes,
    narHash,
    narSizeBytes,
    references,
    signatures: signatures.filter(isWellFormedSignature),
    ...(deriver === undefined ? {} : { deriver }),
    ...(contentAddress === undefined ? {} : { contentAddress }),
  };
  return keys.reduce(signNarInfo, info);
}

/** Undefined for the hash of another algorithm, which no Nix since 2.0 registers. */
function digestOf(hash: Hash): string | undefined {
  return hashAlgorithm(hash) === 'sha256' ? encodeBase32(hashDigest(hash)) : undefined;
}
