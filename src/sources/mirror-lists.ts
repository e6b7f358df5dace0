import { derivationAttributes, type JsonValue, NixFormatError, parseDerivation, type StorePath } from '../nix/index.ts';
import type { FetchRecipe } from './fixed-source.ts';

/** The bytes of a `.drv` file; undefined where it cannot be had. */
export type ReadDerivation = (drvPath: StorePath) => Promise<Buffer | undefined>;

/** An address that can be asked for, or why one cannot. */
export type Address = { readonly url: URL } | { readonly text: string; readonly problem: string };

/** Says what the addresses of recipes mean, and reads each list of hosts once. */
export class MirrorLists {
  readonly #read: ReadDerivation;
  readonly #storeDir: string;
  readonly #environment: Readonly<Record<string, string | undefined>>;
  readonly #lists = new Map<StorePath, Promise<ReadonlyMap<string, JsonValue>>>();

  /** @param environment in which NIX_MIRRORS_<site> goes before the lists, as it does for nixpkgs' fetchurl. */
  constructor(read: ReadDerivation, storeDir: string, environment: Readonly<Record<string, string | undefined>>) {
    this.#read = read;
    this.#storeDir = storeDir;
    this.#environment = environment;
  }

  /** In order; `mirror://gnu/hello.tar.gz` becomes one address for each host of gnu. */
  async expand({ addresses, mirrorLists }: FetchRecipe): Promise<readonly Address[]> {
    const expanded: Address[] = [];
    for (const text of addresses) {
      const mirrored = /^mirror:\/\/([A-Za-z0-9_]+)\/(.*)$/s.exec(text);
      if (mirrored === null) {
        expanded.push(parseAddress(text));
        continue;
      }
      const [, site = '', file = ''] = mirrored;
      const hosts = await this.#hosts(site, mirrorLists);
      if (hosts.length === 0) expanded.push({ text, problem: `nobody says where mirror://${site} is` });
      for (const host of hosts) expanded.push(parseAddress(`${host}${file}`));
    }
    return expanded;
  }

  async #hosts(site: string, lists: StorePath | undefined): Promise<readonly string[]> {
    const chosen = this.#environment[`NIX_MIRRORS_${site}`];
    if (chosen !== undefined && chosen !== '') return words(chosen);
    if (lists === undefined) return [];
    let known = this.#lists.get(lists);
    if (known === undefined) {
      known = this.#readList(lists);
      this.#lists.set(lists, known);
    }
    const value = (await known).get(site);
    if (typeof value === 'string') return words(value);
    return Array.isArray(value) ? value.filter((host): host is string => typeof host === 'string') : [];
  }

  async #readList(drvPath: StorePath): Promise<ReadonlyMap<string, JsonValue>> {
    const bytes = await this.#read(drvPath);
    if (bytes === undefined) return new Map();
    try {
      return derivationAttributes(parseDerivation(bytes, this.#storeDir));
    } catch (error) {
      if (error instanceof NixFormatError) return new Map();
      throw error;
    }
  }
}

function parseAddress(text: string): Address {
  const url = URL.parse(text);
  if (url === null) return { text, problem: 'this is no address' };
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    return { text, problem: `${url.protocol}// is left to the builder` };
  }
  return { url };
}

function words(text: string): readonly string[] {
  return text.split(/\s+/).filter((word) => word !== '');
}
