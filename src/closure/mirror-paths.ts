import { Batches } from '../base/batches.ts';
import { narInfoName } from '../mirror/layout.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { NixFormatError } from '../nix/format-error.ts';
import { type NarInfo, parseNarInfo } from '../nix/narinfo.ts';
import type { PublicKey } from '../nix/signature.ts';
import { hashPartOf, type StorePath } from '../nix/store-path.ts';
import { clientAccepts } from './client-accepts.ts';
import type { OfferedPath } from './client-plan.ts';
import { TextPool } from './text-pool.ts';

/** A path as clients of a mirror see it. */
export interface MirrorPath extends OfferedPath {
  /** What crosses the wire; NarSize where FileSize is not stated. */
  readonly fileSizeBytes: number;
}

/** What a mirror says of its paths, each read once, many at a time. */
export class MirrorPaths {
  readonly #mirror: Mirror;
  readonly #keys: readonly PublicKey[];
  readonly #known = new Map<StorePath, Promise<MirrorPath | undefined>>();
  readonly #batches: Batches<StorePath, MirrorPath>;
  readonly #damaged = new Map<StorePath, string>();
  readonly #texts = new TextPool();

  /** @param keys what clients trust */
  constructor(mirror: Mirror, keys: readonly PublicKey[]) {
    this.#mirror = mirror;
    this.#keys = keys;
    this.#batches = new Batches((paths) => this.#read(paths));
  }

  /** Undefined for a path that no client gets. A signature may be lacking. */
  find(path: StorePath): Promise<MirrorPath | undefined> {
    let known = this.#known.get(path);
    if (known === undefined) {
      known = this.#batches.get(path);
      this.#known.set(path, known);
    }
    return known;
  }

  /** Why a path that seems to be there cannot be had; known once it was asked for. */
  damageOf(path: StorePath): string | undefined {
    return this.#damaged.get(path);
  }

  async #read(paths: readonly StorePath[]): Promise<ReadonlyMap<StorePath, MirrorPath>> {
    const { storage } = this.#mirror;
    const files = await storage.readMany(paths.map((path) => narInfoName(hashPartOf(path))));
    const infos: NarInfo[] = [];
    for (const [index, path] of paths.entries()) {
      const info = this.#parse(path, files[index]?.bytes);
      if (info !== undefined) infos.push(info);
    }
    const nars = await storage.statMany(infos.map(({ url }) => url));
    const found = new Map<StorePath, MirrorPath>();
    for (const [index, info] of infos.entries()) {
      const { storePath, references, narSizeBytes, fileSizeBytes = narSizeBytes } = info;
      const problem = narProblem(info, nars[index]?.sizeBytes);
      if (problem !== undefined) {
        this.#damaged.set(storePath, problem);
        continue;
      }
      found.set(storePath, {
        references: references.map((reference) => this.#texts.share(reference)),
        fileSizeBytes,
        signatureCounts: clientAccepts(info, this.#keys),
      });
    }
    return found;
  }

  #parse(path: StorePath, bytes: Buffer | undefined): NarInfo | undefined {
    if (bytes === undefined) return undefined;
    try {
      const info = parseNarInfo(bytes, this.#mirror.storeDir);
      if (info.storePath === path) return info;
      this.#damaged.set(path, `its narinfo describes ${info.storePath}`);
    } catch (error) {
      if (!(error instanceof NixFormatError)) throw error;
      this.#damaged.set(path, `its narinfo is damaged: ${error.message}`);
    }
    return undefined;
  }
}

function narProblem({ url, fileSizeBytes }: NarInfo, sizeBytes: number | undefined): string | undefined {
  if (sizeBytes === undefined) return `its NAR ${url} is not there`;
  if (fileSizeBytes === undefined || sizeBytes === fileSizeBytes) return undefined;
  return `its NAR ${url} has ${sizeBytes} bytes, not ${fileSizeBytes}`;
}
