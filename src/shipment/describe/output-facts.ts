import { LIMITS } from '../../base/limits.ts';
import { outputPaths, type StorePath } from '../../nix/index.ts';
import { type DerivationFacts, derivationFacts } from './derivation-facts.ts';
import { type DerivationSource, findDerivation } from './derivation-source.ts';

/** What derivations say of one store path. */
export interface OutputFacts extends Pick<DerivationFacts, 'packageName' | 'version' | 'licences' | 'fileHash'> {
  /** Where the path itself is fetched from; only of fixed outputs. */
  readonly urls: readonly string[];
  /** Where the sources that it was built from are fetched from. */
  readonly sourceUrls: readonly string[];
}

/** Answers from derivations, each of which is looked for and read once as a rule. */
export class DerivationKnowledge {
  readonly #sources: readonly DerivationSource[];
  /** Least recently asked for first. */
  readonly #known = new Map<StorePath, Promise<KnownDerivation | undefined>>();

  constructor(sources: readonly DerivationSource[]) {
    this.#sources = sources;
  }

  /**
   * What the deriver says of a path; undefined when the deriver cannot be read, or does not name the path as its output: anybody can write any
   * deriver into a narinfo.
   */
  async factsOf(path: StorePath, deriver: StorePath): Promise<OutputFacts | undefined> {
    const known = await this.#read(deriver);
    if (known === undefined || !known.outputs.has(path)) return undefined;
    const { packageName, version, licences, fileHash, urls } = known.facts;
    return { packageName, version, licences, fileHash, urls, sourceUrls: await this.#sourceUrls(known.facts) };
  }

  async #sourceUrls({ sources, sourceDerivations }: DerivationFacts): Promise<readonly string[]> {
    const urls = new Set<string>();
    for (const derivation of sourceDerivations) {
      const known = await this.#read(derivation);
      if (known === undefined || !sources.some((source) => known.outputs.has(source))) continue;
      for (const url of known.facts.urls) urls.add(url);
    }
    return [...urls].slice(0, LIMITS.describedTexts);
  }

  #read(path: StorePath): Promise<KnownDerivation | undefined> {
    const known = this.#known.get(path) ?? readKnown(path, this.#sources);
    this.#known.delete(path);
    this.#known.set(path, known);
    for (const oldest of this.#known.keys()) {
      if (this.#known.size <= LIMITS.describedDerivations) break;
      this.#known.delete(oldest);
    }
    return known;
  }
}

interface KnownDerivation {
  readonly facts: DerivationFacts;
  readonly outputs: ReadonlySet<StorePath | undefined>;
}

async function readKnown(path: StorePath, sources: readonly DerivationSource[]): Promise<KnownDerivation | undefined> {
  const derivation = await findDerivation(path, sources);
  if (derivation === undefined) return undefined;
  const storeDir = path.slice(0, path.lastIndexOf('/'));
  return { facts: derivationFacts(derivation, storeDir), outputs: new Set(outputPaths(derivation).values()) };
}
