// What a public cache has of the tests' package set: a continuous build (`jobs`) of every package and of the default system.
// It builds with the sources and tools of every stage and uploads all of that, but not what a system makes for itself.

import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { type Derivation, parseDerivation } from '../../src/nix/derivation.ts';
import { booleanAttribute } from '../../src/nix/derivation-attributes.ts';
import { isFixedOutput } from '../../src/nix/derivation-output.ts';
import type { NixEnvironment } from './nix.ts';
import type { PackageSet } from './package-set.ts';

export interface PublicCacheOptions {
  readonly set: PackageSet;
  /** Where the set is built; keep it to have all of it in a store, too. */
  readonly nix: NixEnvironment;
  /** `<set>/public-cache` unless given. */
  readonly directory?: string | undefined;
}

export interface PublicCache {
  /** The `file://` binary cache. */
  readonly directory: string;
  /** `name:base64`, as in trusted-public-keys. */
  readonly publicKey: string;
  /** Every path in it: all outputs of what was uploaded. */
  readonly paths: ReadonlySet<string>;
  /** Every derivation of the jobs, by its path. */
  readonly derivations: ReadonlyMap<string, Derivation>;
  /** Outputs of derivations that clients build themselves: nowhere but in the store of `nix`. */
  readonly local: ReadonlySet<string>;
}

/** Builds every job of the set (in about 15 s) and copies what a public cache would hold with `nix copy`. */
export async function publicCache(options: PublicCacheOptions): Promise<PublicCache> {
  const { nix, set } = options;
  const directory = options.directory ?? path.join(set.directory, 'public-cache');
  const [secretKeyFile, publicKeyFile] = [`${directory}.secret`, `${directory}.public`];
  await mkdir(directory, { recursive: true });
  await nix.run('nix-store', ['--generate-binary-cache-key', 'public-1', secretKeyFile, publicKeyFile]);

  const jobs = await set.instantiate(['jobs'], nix);
  await set.nix('nix-store', ['--quiet', '--realise', ...jobs], nix);
  const graph = await nix.lines('nix-store', ['--query', '--requisites', ...jobs]);
  const derivations = new Map<string, Derivation>();
  for (const file of graph.filter((storePath) => storePath.endsWith('.drv'))) {
    derivations.set(file, parseDerivation(await readFile(nix.physical(file))));
  }
  const paths = new Set<string>();
  const local = new Set<string>();
  for (const derivation of derivations.values()) {
    for (const output of derivation.outputs.values()) {
      if (output.path !== undefined) (isBuiltByClients(derivation) ? local : paths).add(output.path);
    }
  }
  const url = new URL(`file://${directory}`);
  url.searchParams.set('secret-key', secretKeyFile);
  await nix.run('nix', ['copy', '--quiet', '--to', url.href, ...paths], { timeoutMs: 300_000 });
  return { directory, publicKey: (await readFile(publicKeyFile, 'utf8')).trim(), paths, derivations, local };
}

function isBuiltByClients(derivation: Derivation): boolean {
  if (!booleanAttribute(derivation, 'allowSubstitutes', true)) return true;
  return booleanAttribute(derivation, 'preferLocalBuild', false) && !isFixedOutput(derivation);
}
