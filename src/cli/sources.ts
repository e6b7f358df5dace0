import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { HttpClient } from '../base/http-client.ts';
import type { OnProgress } from '../base/progress.ts';
import { readDerivationOf } from '../collect/derivation-folder.ts';
import { realiseSources } from '../collect/realise-source.ts';
import type { Config } from '../config/config.ts';
import { narNodeFromFileSystem } from '../evaluate/file-tree.ts';
import type { LocalStore } from '../evaluate/local-store.ts';
import { type StorePath, writeNar } from '../nix/index.ts';
import type { ReadDerivation } from '../sources/mirror-lists.ts';
import { openSourceFolder } from '../sources/source-folder.ts';
import { SourceSupply } from '../sources/source-supply.ts';
import { collectValues } from './common-options.ts';

// Where plan, collect and export find sources that no cache has, and derivations that no Nix has evaluated here.

export interface SourcesOptions {
  readonly sources?: 'all';
  readonly sourcesFrom?: readonly string[];
  readonly tarballsMirror?: readonly string[];
  readonly derivations?: readonly string[];
}

const DEFAULT_TARBALLS_MIRROR = 'https://tarballs.nixos.org';

export function addSourcesOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--sources <which>', 'carry, of each package set named, every source instead').choices(['all']),
    )
    .option(
      '--sources-from <dir>',
      'a folder of files, or a store, that has sources which no cache has; repeat for more',
      collectValues,
    )
    .option(
      '--tarballs-mirror <url>',
      `server that knows sources by their hashes, or none; repeat for more (default: ${DEFAULT_TARBALLS_MIRROR})`,
      readMirror,
    )
    .option(
      '--derivations <dir>',
      'a folder of .drv files and what they are built from, for a machine without Nix; repeat for more',
      collectValues,
    );
}

export interface SupplyCollaborators {
  readonly http: HttpClient;
  readonly storeDir: string;
  /** Undefined where there is no Nix. */
  readonly localStore: LocalStore | undefined;
  readonly readDerivation: ReadDerivation;
  /** Makes a derivation valid in the local store. */
  readonly bring: (drvPath: StorePath, signal: AbortSignal) => Promise<void>;
  readonly onProgress: OnProgress;
  readonly signal: AbortSignal;
}

/** Opens and hashes the folders, and connects to nothing. Throws `usage` for a folder that is none. */
export async function openSupply(
  options: SourcesOptions,
  config: Config,
  { http, storeDir, localStore, readDerivation, bring, onProgress, signal }: SupplyCollaborators,
): Promise<SourceSupply> {
  const cacheFolder = sourceCacheFolder();
  const directories = [...(options.sourcesFrom ?? config.sourcesFrom)];
  const folders = [];
  for (const directory of directories) {
    folders.push(await openSourceFolder(resolve(directory), { cacheFolder, onProgress, signal }));
  }
  const mirrors = options.tarballsMirror ?? config.tarballsMirrors ?? [DEFAULT_TARBALLS_MIRROR];
  return new SourceSupply({
    folders,
    hashedMirrors: mirrors.filter((mirror) => mirror !== NO_MIRROR),
    http,
    readDerivation,
    dump: dumpFile,
    build: localStore === undefined ? undefined : realiseSources({ localStore, bring }),
    storeDir,
    environment: process.env,
  });
}

/** Reads `.drv` files from the folders that were named; then as `otherwise` does. */
export function readDerivationsFrom(folders: readonly string[], otherwise: ReadDerivation): ReadDerivation {
  return async (drvPath) => {
    for (const folder of folders) {
      const bytes = await readDerivationOf(folder, drvPath);
      if (bytes !== undefined) return bytes;
    }
    return otherwise(drvPath);
  };
}

async function* dumpFile(path: string): AsyncGenerator<Uint8Array, void, undefined> {
  yield* writeNar(await narNodeFromFileSystem(path));
}

const NO_MIRROR = 'none';

function readMirror(text: string, before: readonly string[] = []): string[] {
  const url = URL.parse(text);
  if (text !== NO_MIRROR && url?.protocol !== 'http:' && url?.protocol !== 'https:') {
    throw new InvalidArgumentError('It takes an address that begins with http:// or https://, or none.');
  }
  return [...before, text];
}

/** What was found out about folders and package sets. All of it can be had again. */
export function sourceCacheFolder(): string {
  const chosen = process.env['XDG_CACHE_HOME'];
  if (chosen !== undefined && chosen !== '') return join(chosen, 'nixferry/sources');
  return process.getuid?.() === 0 ? '/var/cache/nixferry/sources' : join(homedir(), '.cache/nixferry/sources');
}
