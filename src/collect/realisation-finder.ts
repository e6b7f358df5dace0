import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { OnProgress } from '../base/progress.ts';
import type { Mirror } from '../mirror/mirror.ts';
import type { NamedRealisation } from '../mirror/publish-realisations.ts';
import { NixFormatError } from '../nix/format-error.ts';
import {
  formatRealisationPath,
  parseRealisation,
  parseRealisationPath,
  type RealisationKey,
  trustedRealisationSignature,
} from '../nix/realisation.ts';
import type { PublicKey } from '../nix/signature.ts';
import { type StorePath, storePathFromBaseName } from '../nix/store-path.ts';
import type { Upstream } from '../upstream/upstream.ts';

/** A cache that may say what outputs of floating derivations are. */
export type RealisationSource = Pick<Upstream, 'url' | 'file'>;

export interface RealisationFinderInputs {
  /** Undefined where it does not exist yet. */
  readonly mirror: Mirror | undefined;
  /** Asked in this order for what the mirror does not say. */
  readonly upstreams: readonly RealisationSource[];
  readonly trustedKeys: readonly PublicKey[];
  readonly storeDir: string;
  readonly onProgress: OnProgress;
  readonly signal: AbortSignal;
}

/**
 * Tells what outputs of floating derivations are: as the mirror says, else as the first upstream does with the signature of a trusted key. Together with
 * its realisation a client wants those that it depends on; where one of these is not to be had, nor is the first.
 */
export class RealisationFinder {
  readonly #inputs: RealisationFinderInputs;
  readonly #looked = new Map<string, Promise<NamedRealisation | undefined>>();
  readonly #outPaths = new Set<StorePath>();
  readonly #noticed = new Set<RealisationSource>();

  constructor(inputs: RealisationFinderInputs) {
    this.#inputs = inputs;
  }

  /** @param keys the names of one output's realisations. */
  async find(keys: readonly RealisationKey[]): Promise<StorePath | undefined> {
    for (const key of keys) {
      const found = (await this.#whole(key))?.at(-1);
      if (found === undefined) continue;
      const path = this.#outPathOf(found);
      this.#outPaths.add(path);
      return path;
    }
    return undefined;
  }

  /** Whether a cache said of a path that it is such an output, when it was asked. */
  isRealised(path: StorePath): boolean {
    return this.#outPaths.has(path);
  }

  /** The realisations that lead clients to a path, whichever of the names they ask for; each behind those that it depends on. */
  async filesFor(keys: readonly RealisationKey[], path: StorePath): Promise<readonly NamedRealisation[]> {
    const files = new Map<string, NamedRealisation>();
    for (const key of keys) {
      const whole = (await this.#whole(key)) ?? [];
      const last = whole.at(-1);
      if (last === undefined || this.#outPathOf(last) !== path) continue;
      for (const file of whole) files.set(file.name, file);
    }
    return [...files.values()];
  }

  /** The realisation last, before it those that it depends on. */
  async #whole(key: RealisationKey): Promise<readonly NamedRealisation[] | undefined> {
    const files = new Map<string, NamedRealisation>();
    const wanted: { name: string; outPath?: string }[] = [{ name: formatRealisationPath(key) }];
    // The list grows while it is walked.
    for (const { name, outPath } of wanted) {
      const found = await this.#look(name);
      if (found === undefined || (outPath !== undefined && found.realisation.outPath !== outPath)) return undefined;
      if (files.has(name)) continue;
      files.set(name, found);
      for (const [id, path] of found.realisation.dependencies) {
        wanted.push({ name: `realisations/${id}.doi`, outPath: path });
      }
    }
    return [...files.values()].toReversed();
  }

  #look(name: string): Promise<NamedRealisation | undefined> {
    let looked = this.#looked.get(name);
    if (looked === undefined) {
      looked = this.#ask(name);
      this.#looked.set(name, looked);
    }
    return looked;
  }

  async #ask(name: string): Promise<NamedRealisation | undefined> {
    const { mirror, upstreams, trustedKeys, signal } = this.#inputs;
    const here = read(name, await mirror?.storage.read(name));
    if (here !== undefined) return here;
    for (const upstream of upstreams) {
      try {
        const found = read(name, await upstream.file(name, { maxBytes: LIMITS.realisationBytes, signal }));
        if (found !== undefined && trustedRealisationSignature(found.realisation, trustedKeys) !== undefined)
          return found;
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof NixferryError)) throw error;
        this.#note(upstream, error);
      }
    }
    return undefined;
  }

  /** Not to know is no error: clients build what they cannot find. */
  #note(upstream: RealisationSource, error: NixferryError): void {
    if (this.#noticed.has(upstream)) return;
    this.#noticed.add(upstream);
    const message = `${error.message}; where nobody else says what content-addressed outputs are, clients will build them`;
    this.#inputs.onProgress({ type: 'notice', message });
  }

  #outPathOf({ realisation }: NamedRealisation): StorePath {
    return storePathFromBaseName(realisation.outPath, this.#inputs.storeDir);
  }
}

/** Undefined for what no client can read. */
function read(name: string, bytes: Buffer | undefined): NamedRealisation | undefined {
  const key = parseRealisationPath(name);
  if (key === undefined || bytes === undefined || bytes.length > LIMITS.realisationBytes) return undefined;
  try {
    return { name, realisation: parseRealisation(bytes, key) };
  } catch (error) {
    if (error instanceof NixFormatError) return undefined;
    throw error;
  }
}
