import { nameOf, type StorePath, type StorePathBaseName } from './store-path.ts';

export interface PackageName {
  readonly name: string;
  /** Empty where the name states none. */
  readonly version: string;
}

/**
 * Splits a name as Nix does: the version begins behind the first dash that no letter follows. `hello-2.12` is version 2.12 of hello.
 * (Nix: names.cc, `DrvName`; `builtins.parseDrvName`)
 */
export function parsePackageName(text: string): PackageName {
  for (let dash = text.indexOf('-'); dash !== -1 && dash + 1 < text.length; dash = text.indexOf('-', dash + 1)) {
    if (!isLetter(text.charCodeAt(dash + 1))) return { name: text.slice(0, dash), version: text.slice(dash + 1) };
  }
  return { name: text, version: '' };
}

/** The package that a store path is an output of. */
export interface OutputName extends PackageName {
  /** Undefined where the deriver does not tell. */
  readonly output: string | undefined;
}

/**
 * The package and output that a store path is. The deriver tells where the package's name ends: outputs other than `out` are named
 * `<name>-<output>`, which by itself cannot be told from a version that ends in a word.
 */
export function outputNameOf(path: StorePath | StorePathBaseName, deriver: string | undefined): OutputName {
  const name = nameOf(path);
  const derived = deriver?.endsWith(DRV) === true ? nameOf(deriver as StorePathBaseName).slice(0, -DRV.length) : '';
  if (derived === name) return { ...parsePackageName(name), output: 'out' };
  if (derived !== '' && name.startsWith(`${derived}-`)) {
    return { ...parsePackageName(derived), output: name.slice(derived.length + 1) };
  }
  return { ...parsePackageName(name), output: undefined };
}

const DRV = '.drv';

function isLetter(code: number): boolean {
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x7a;
}
