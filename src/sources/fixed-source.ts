// src/sources obtains what fixed-output derivations must give, without their builders where that is possible: from folders that
// somebody has, by hash, from the addresses that the derivation names. It trusts nothing but the declared hash. It knows no roots, and
// runs no Nix: whoever opens a supply may hand it a way to have the real builder do the work.

import {
  type ContentAddress,
  type Derivation,
  derivationAttributes,
  fixedOutput,
  type JsonValue,
  NixFormatError,
  nameOf,
  parseDerivation,
  parseStorePath,
  type StorePath,
} from '../nix/index.ts';

/** The one output of a fixed-output derivation, and what its derivation says about where it comes from. */
export interface FixedSource {
  readonly drvPath: StorePath;
  readonly storePath: StorePath;
  /** What decides whether bytes are the right ones, wherever they come from. */
  readonly address: ContentAddress;
  /** Undefined where only the builder knows what to do: git, vendored dependencies. */
  readonly recipe: FetchRecipe | undefined;
}

/** How a file at an address becomes the output. */
export interface FetchRecipe {
  /**
   * `file`: it is the output as it is; `executable`: and may be executed; `nar`: it is a NAR, perhaps compressed by xz, of the output; `tree`: it is
   * probably an archive, of which the output is the contents, or a single file.
   */
  readonly form: 'file' | 'executable' | 'nar' | 'tree';
  /** In the order in which they are tried; `mirror://SITE/PATH` stands for several. */
  readonly addresses: readonly string[];
  /** The derivation whose environment says which hosts `mirror://` means. */
  readonly mirrorLists: StorePath | undefined;
}

/** Undefined when this is no derivation with a fixed output, or none that can be read. */
export function parseFixedSource(drvPath: StorePath, bytes: Uint8Array, storeDir: string): FixedSource | undefined {
  try {
    return describeFixedSource(drvPath, parseDerivation(bytes, storeDir), storeDir);
  } catch (error) {
    if (error instanceof NixFormatError) return undefined;
    throw error;
  }
}

/** Undefined when the derivation has no fixed output. @throws NixFormatError when its attributes are broken. */
export function describeFixedSource(
  drvPath: StorePath,
  derivation: Derivation,
  storeDir: string,
): FixedSource | undefined {
  const output = derivation.outputs.get('out');
  if (output === undefined || derivation.outputs.size !== 1) return undefined;
  const fixed = fixedOutput(output);
  if (fixed === undefined) return undefined;
  const { path: storePath, contentAddress: address } = fixed;
  return { drvPath, storePath, address, recipe: recipeOf(derivation, address, storeDir) };
}

function recipeOf(derivation: Derivation, address: ContentAddress, storeDir: string): FetchRecipe | undefined {
  const attributes = derivationAttributes(derivation);
  const form = formOf(derivation, address, attributes);
  if (form === undefined) return undefined;
  const addresses = [...new Set([...textsOf(attributes.get('urls')), ...textsOf(attributes.get('url'))])];
  if (addresses.length === 0) return undefined;
  return { form, addresses, mirrorLists: mirrorListsOf(derivation, attributes, storeDir) };
}

function formOf(
  derivation: Derivation,
  address: ContentAddress,
  attributes: ReadonlyMap<string, JsonValue>,
): FetchRecipe['form'] | undefined {
  if (address.method === 'flat') return 'file';
  if (address.method !== 'nar') return undefined;
  if (derivation.builder === 'builtin:fetchurl') {
    if (isTrue(attributes.get('unpack'))) return 'nar';
    return isTrue(attributes.get('executable')) ? 'executable' : 'tree';
  }
  // The fetchers of version control name what they fetch `url`, too, and only a builder can make use of it.
  if (attributes.has('urls')) return 'tree';
  return textsOf(attributes.get('url')).some((url) => ARCHIVE.test(url)) ? 'tree' : undefined;
}

const ARCHIVE = /\.(?:tar|tar\.[a-z0-9]{2,4}|tgz|tbz2?|txz|tzst|zip|jar|crate)(?:[?#].*)?$/i;

/** As Nix writes booleans into the environment, and as they stand in structured attributes. */
function isTrue(value: JsonValue | undefined): boolean {
  return value === true || value === '1';
}

function textsOf(value: JsonValue | undefined): readonly string[] {
  if (typeof value === 'string') return value.split(/\s+/).filter((text) => text !== '');
  if (Array.isArray(value)) return value.filter((text): text is string => typeof text === 'string' && text !== '');
  return [];
}

/** The derivation of what the attribute `mirrorsFile` names: its environment has one list of hosts for each site. (nixpkgs: fetchurl) */
function mirrorListsOf(
  derivation: Derivation,
  attributes: ReadonlyMap<string, JsonValue>,
  storeDir: string,
): StorePath | undefined {
  const file = attributes.get('mirrorsFile');
  if (typeof file !== 'string') return undefined;
  const name = `${nameOf(parseStorePath(file, storeDir))}.drv`;
  return [...derivation.inputDerivations.keys()].find((input) => nameOf(input) === name);
}
