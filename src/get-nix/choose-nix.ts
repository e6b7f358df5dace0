import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { NixferryError } from '../base/errors.ts';
import { readFileIfExists } from '../base/files.ts';
import { showUrl } from '../base/http/shown-url.ts';
import type { HttpClient } from '../base/http-client.ts';
import { LIMITS } from '../base/limits.ts';
import { compareVersions } from '../evaluate/nix-age.ts';
import { NixFormatError, nameOf, parseStorePath, type StorePath } from '../nix/index.ts';
import { readStorePathsList } from '../upstream/store-paths-list.ts';

// src/get-nix brings a Nix to machines that have none, or one that is too old, without installing it.

/** The Nix that nixpkgs' own `nixos-rebuild` falls back to: a recent stable one, for every kind of machine. */
export const DEFAULT_NIX =
  'https://github.com/NixOS/nixpkgs/raw/master/nixos/modules/installer/tools/nix-fallback-paths.nix';

/** Where each release of Nix states its store paths, in `nix-VERSION/fallback-paths.nix`. */
export const DEFAULT_RELEASES_BASE = 'https://releases.nixos.org/nix';

export interface ChooseNixOptions {
  readonly http: HttpClient;
  readonly storeDir: string;
  /** The kind of machine that it is for: `x86_64-linux`. */
  readonly system: string;
  readonly releasesBase?: string | undefined;
  readonly channelsBase?: string | undefined;
  /** For which kind of machine a path holds a Nix; asked only where a list names several of one version. */
  readonly systemOf: (path: StorePath) => Promise<string | undefined>;
  readonly signal: AbortSignal;
}

/**
 * The store path of the Nix that is meant.
 * @param which a store path; a version; `channel:NAME`, for the newest in its list of store paths; or the address or name of a file such as
 *   nixpkgs' nix-fallback-paths.nix, which names one for each kind of machine
 * @throws NixferryError `bad-root` when it names none for that kind of machine; HttpErrors
 */
export async function chooseNix(which: string, options: ChooseNixOptions): Promise<StorePath> {
  const { storeDir, releasesBase = DEFAULT_RELEASES_BASE } = options;
  if (which.startsWith(`${storeDir}/`)) return readPath(which, which, options);
  if (which.startsWith('channel:')) return newestInList(which, options);
  if (/^\d+(\.\d+)+$/.test(which)) {
    return pathInFile(`${releasesBase.replace(/\/+$/, '')}/nix-${which}/fallback-paths.nix`, options);
  }
  if (/^(https?|file):\/\//.test(which) || existsSync(which)) return pathInFile(which, options);
  throw new NixferryError('bad-root', `'${which}' names no Nix`, {
    hint: `name it by a version (2.31.2), as channel:nixos-26.05, by its store path (${storeDir}/...-nix-2.31.2), or by a file that lists one for each kind of machine`,
  });
}

/** The store path in a file such as `{ x86_64-linux = "/nix/store/...-nix-2.31.2"; }`: read, not evaluated. */
async function pathInFile(source: string, options: ChooseNixOptions): Promise<StorePath> {
  const shown = /^https?:/.test(source) ? showUrl(source) : source;
  const text = (await readSource(source, options)).toString('latin1');
  const stated = [...text.matchAll(/^\s*(?:\{\s*)?"?([\w-]+)"?\s*=\s*"([^"\n]+)"\s*;/gm)];
  const path = stated.find(([, system]) => system === options.system)?.[2];
  if (path !== undefined) return readPath(path, shown, options);
  const known = stated.map(([, system = '']) => system).join(', ');
  throw new NixferryError('bad-root', `${shown} names no Nix for ${options.system}`, {
    hint: known === '' ? 'give the address of a nix-fallback-paths.nix' : `it has: ${known}; choose with --system`,
  });
}

async function readSource(source: string, { http, signal }: ChooseNixOptions): Promise<Buffer> {
  const maxBytes = LIMITS.nixPathsFileBytes;
  if (/^https?:/.test(source)) {
    const { status, bytes } = await http.getBytes(source, { maxBytes, signal, accept: [404] });
    if (status === 200) return bytes;
  } else {
    const bytes = await readFileIfExists(source.startsWith('file:') ? fileURLToPath(source) : source, maxBytes);
    if (bytes !== undefined) return bytes;
  }
  throw new NixferryError('bad-root', `there is no ${/^https?:/.test(source) ? showUrl(source) : source}`, {
    hint: 'is there such a release of Nix? --releases-base says where releases are looked for',
  });
}

/** The newest stable Nix among all paths of a channel; of those for several kinds of machine, the one for ours. */
async function newestInList(source: string, options: ChooseNixOptions): Promise<StorePath> {
  const { http, storeDir, signal, channelsBase, system, systemOf } = options;
  const base = channelsBase === undefined ? {} : { channelsBase };
  let newest: { readonly version: string; readonly paths: StorePath[] } | undefined;
  for await (const path of readStorePathsList(source, { http, storeDir, signal, ...base })) {
    const version = /^nix-(\d+(?:\.\d+)+)$/.exec(nameOf(path))?.[1];
    if (version === undefined) continue;
    const newer = newest === undefined ? 1 : compareVersions(version, newest.version);
    if (newer > 0) newest = { version, paths: [path] };
    else if (newer === 0) newest?.paths.push(path);
  }
  const [only, ...others] = newest?.paths ?? [];
  if (only !== undefined && others.length === 0) return only;
  for (const path of newest?.paths ?? []) if ((await systemOf(path)) === system) return path;
  throw new NixferryError('bad-root', `${source} names no Nix for ${system}`, {
    hint: 'name a channel such as channel:nixos-26.05, or a version of Nix',
  });
}

function readPath(text: string, source: string, { storeDir }: ChooseNixOptions): StorePath {
  try {
    return parseStorePath(text, storeDir);
  } catch (error) {
    if (!(error instanceof NixFormatError)) throw error;
    throw new NixferryError('bad-root', `${source}: ${error.message}`, {
      hint: `it must be a path of ${storeDir}`,
      cause: error,
    });
  }
}
