import { LIMITS } from '../../base/limits.ts';
import {
  contentAddressNamesPath,
  type Derivation,
  derivationAttributes,
  fixedOutput,
  formatHash,
  hashAlgorithm,
  type JsonValue,
  NixFormatError,
  nameOf,
  parseStorePath,
  type StorePath,
} from '../../nix/index.ts';

/** What a `.drv` says of its outputs that a reader of a bill of materials asks for. Nothing is guessed: what it does not say is not here. */
export interface DerivationFacts {
  readonly packageName: string | undefined;
  readonly version: string | undefined;
  /** As they were written: names, SPDX or not. Nixpkgs does not put licences into its derivations; others do. */
  readonly licences: readonly string[];
  /** Where a fixed output is fetched from: `url` and `urls`, also `mirror://…`. */
  readonly urls: readonly string[];
  /** Where a fixed output is one file whose hash is stated: that hash, as it is known outside of Nix. */
  readonly fileHash: { readonly algorithm: 'md5' | 'sha1' | 'sha256' | 'sha512'; readonly hex: string } | undefined;
  /** What it was built from: the store paths in `src` and `srcs`. */
  readonly sources: readonly StorePath[];
  /** Derivations that may make one of `sources`: those that make an output of that name. */
  readonly sourceDerivations: readonly StorePath[];
}

export function derivationFacts(derivation: Derivation, storeDir: string): DerivationFacts {
  const attributes = attributesOf(derivation);
  const fixed = [...derivation.outputs.values()].map(fixedOutput).find((output) => output !== undefined);
  const sources = texts(attributes.get('src'), attributes.get('srcs')).flatMap((text) => storePathIn(text, storeDir));
  const sourceNames = new Set(sources.map(nameOf));
  const address = fixed?.contentAddress;
  return {
    packageName: nameIn(attributes.get('pname')),
    version: nameIn(attributes.get('version')),
    licences: unique(licencesIn(attributes)),
    urls: fixed === undefined ? [] : unique(texts(attributes.get('url'), attributes.get('urls')).filter(isAddress)),
    fileHash:
      // Nix would never build one whose path is another than follows from the hash; a sender could still write it.
      fixed !== undefined && address?.method === 'flat' && contentAddressNamesPath(address, fixed.path, [])
        ? { algorithm: hashAlgorithm(address.hash), hex: formatHash(address.hash, 'base16', { prefix: false }) }
        : undefined,
    sources: [...new Set(sources)].slice(0, LIMITS.describedTexts),
    sourceDerivations: [...derivation.inputDerivations.keys()]
      .filter((path) => sourceNames.has(nameOf(path).replace(/\.drv$/, '')))
      .slice(0, LIMITS.describedTexts),
  };
}

/** Without structured attributes that cannot be parsed: then the environment alone speaks. */
function attributesOf(derivation: Derivation): ReadonlyMap<string, JsonValue> {
  try {
    return derivationAttributes(derivation);
  } catch (error) {
    if (error instanceof NixFormatError) return derivation.env;
    throw error;
  }
}

function licencesIn(attributes: ReadonlyMap<string, JsonValue>): string[] {
  const meta = fieldsOf(attributes.get('meta'));
  return [attributes.get('license'), attributes.get('licenses'), meta?.['license'], meta?.['licenses']].flatMap(
    (value) => (Array.isArray(value) ? value : [value]).flatMap(licenceName),
  );
}

/** A licence as a text, or as nixpkgs' lib.licenses describes one. */
function licenceName(value: JsonValue | undefined): string[] {
  const fields = fieldsOf(value);
  if (fields === undefined) return typeof value === 'string' ? wordsOf([value.trim()]) : [];
  return wordsOf([fields['spdxId'] ?? fields['fullName'] ?? fields['shortName']]).slice(0, 1);
}

function nameIn(value: JsonValue | undefined): string | undefined {
  return wordsOf([value])[0];
}

function fieldsOf(value: JsonValue | undefined): Readonly<Record<string, JsonValue>> | undefined {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return undefined;
  return value as Readonly<Record<string, JsonValue>>;
}

/** The texts of attributes that are one, several parted by white space, or a list. */
function texts(...values: readonly (JsonValue | undefined)[]): string[] {
  return values.flatMap((value) => {
    if (typeof value === 'string') return wordsOf(value.split(/\s+/));
    return Array.isArray(value) ? wordsOf(value) : [];
  });
}

function wordsOf(values: readonly (JsonValue | undefined)[]): string[] {
  return values.filter(
    (value): value is string =>
      typeof value === 'string' && value !== '' && value.length <= LIMITS.describedTextCharacters,
  );
}

/** `src` may point into a store path. */
function storePathIn(text: string, storeDir: string): StorePath[] {
  if (!text.startsWith(`${storeDir}/`)) return [];
  const end = text.indexOf('/', storeDir.length + 1);
  try {
    return [parseStorePath(end === -1 ? text : text.slice(0, end), storeDir)];
  } catch (error) {
    if (error instanceof NixFormatError) return [];
    throw error;
  }
}

function isAddress(text: string): boolean {
  return ADDRESS.test(text);
}

// RFC 3986: a scheme, and no character that must be escaped in an address.
const ADDRESS = /^[a-z][a-z0-9+.-]{0,30}:[A-Za-z0-9._~:/?#[\]@!$&'()*+,;=%-]+$/i;

function unique(values: readonly string[]): string[] {
  return [...new Set(values)].slice(0, LIMITS.describedTexts);
}
