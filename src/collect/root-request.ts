// src/collect turns roots into store paths, plans what must be fetched, and fetches it into the mirror.
// It prints nothing and never exits. This file knows how roots are spelled.

import { existsSync, statSync } from 'node:fs';
import { lstat, readlink, realpath } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { NixferryError } from '../base/errors.ts';
import { isCarriedRef } from '../base/git-refs.ts';
import { type Installable, parseOutputSelection } from '../evaluate/installable.ts';
import { parseRepositoryAddress } from '../mirror/repository-address.ts';
import { parseChannel } from '../upstream/channel.ts';
import type { WantedRepository } from './resolve-roots.ts';

/**
 * One root as it was asked for, sorted by kind, not yet resolved to store paths. `request` means the same wherever it is
 * typed: relative paths are made absolute.
 */
export type RootRequest =
  | { readonly kind: 'store-path'; readonly request: string; readonly path: string }
  | { readonly kind: 'derivation'; readonly request: string; readonly path: string }
  | { readonly kind: 'list'; readonly request: string; readonly source: string }
  | { readonly kind: 'channel'; readonly request: string; readonly channel: string }
  | { readonly kind: 'repository'; readonly request: string; readonly repository: WantedRepository }
  | { readonly kind: 'installable'; readonly request: string; readonly installable: Installable };

export interface RootRequestContext {
  readonly workingDirectory: string;
  readonly storeDir: string;
  /** Names from nixferry.toml, each standing for a list of roots. */
  readonly named: ReadonlyMap<string, readonly string[]>;
}

const MAX_LINKS = 40;

const HINT =
  'a root is a store path, a link to one, a file with a store path per line (- for stdin), channel:NAME, ' +
  'a repository such as git+https://git.example.org/team/lib, a flake output such as nixpkgs#hello, -f FILE -A ATTR, or a name from nixferry.toml';

/**
 * Tells what kind of root each text is. A name from nixferry.toml stands for its roots (one level deep).
 * @throws NixferryError `bad-root` naming the text.
 */
export async function parseRootRequests(texts: readonly string[], context: RootRequestContext): Promise<RootRequest[]> {
  const requests: RootRequest[] = [];
  for (const text of texts) {
    const named = context.named.get(text);
    for (const one of named ?? [text]) requests.push(await parseRootRequest(one, context));
  }
  return requests;
}

async function parseRootRequest(text: string, context: RootRequestContext): Promise<RootRequest> {
  if (text === '-') return { kind: 'list', request: text, source: text };
  const channel = parseChannel(text);
  if (channel !== undefined) return { kind: 'channel', request: text, channel };
  if (/^(https?|file|ssh|git):\/\/[^?#]*\.git\/?$/.test(text)) {
    throw new NixferryError('bad-root', `'${text}' looks like a repository of git`, {
      hint: `as one, it is written git+${text}`,
    });
  }
  if (/^(https?|file):\/\//.test(text)) return { kind: 'list', request: text, source: text };
  const repository = parseRepository(text);
  if (repository !== undefined) return { kind: 'repository', request: text, repository };
  const local = await parseLocalPath(text, context);
  if (local !== undefined) return local;
  if (looksLikeFlake(text)) {
    const request = absoluteReference(text, context.workingDirectory);
    const { rest, outputs } = parseOutputSelection(request);
    return { kind: 'installable', request, installable: { kind: 'flake', reference: rest, outputs } };
  }
  throw new NixferryError(
    'bad-root',
    `'${text}' is no root that Nixferry knows: there is no such file, and no such name in nixferry.toml`,
    {
      hint: HINT,
    },
  );
}

/** Whether a root is a repository, for which no cache is asked. */
export function isRepositoryRoot(text: string): boolean {
  return /^git\+(?:https?|ssh|git|file):\/\/[^#]*$/.test(text);
}

/** `git+https://git.example.org/team/lib`, with `?ref=NAME` for one branch or tag alone. With `#` it is an output of a flake that lies there. */
function parseRepository(text: string): WantedRepository | undefined {
  const [, url = '', query] = /^git\+((?:https?|ssh|git|file):\/\/[^?#]*)(?:\?([^#]*))?$/.exec(text) ?? [];
  if (url === '') return undefined;
  const [, ref] = /^ref=([^&]+)$/.exec(query ?? '') ?? [];
  if (query !== undefined && ref === undefined) {
    throw new NixferryError('bad-root', `'${text}' asks for more of a repository than one branch or tag`, {
      hint: 'write ?ref=NAME and nothing else, or no ? for all of them; for an output of a flake that lies there, add #default or another name',
    });
  }
  const address = parseRepositoryAddress(url);
  if (address === undefined) {
    throw new NixferryError('bad-root', `'${text}' is no address of a repository that can be carried`, {
      hint: 'write it as git+https://HOST/PATH, in letters, digits and . _ ~ + @ -, without a password: git finds that in its own configuration',
    });
  }
  return { ...address, ...(ref === undefined ? {} : { ref: decodeRef(ref, text) }) };
}

function decodeRef(ref: string, text: string): string {
  try {
    const name = decodeURIComponent(ref);
    if (isCarriedRef(name) || isCarriedRef(`refs/heads/${name}`)) return name.replace(/^refs\/heads\//, '');
  } catch {
    // Not a name, then.
  }
  throw new NixferryError('bad-root', `'${text}': no branch or tag can be called so`, {
    hint: 'write the name of a branch or tag behind ?ref=',
  });
}

function looksLikeFlake(text: string): boolean {
  return (
    text.includes('#') || /^(github|gitlab|sourcehut|flake|path|tarball|indirect|git|git\+\w+|hg\+\w+):/.test(text)
  );
}

/** `.#web` → `/home/anna/config#web`. */
function absoluteReference(text: string, workingDirectory: string): string {
  const [folder = '', ...rest] = text.split('#');
  return folder.startsWith('.') ? [resolve(workingDirectory, folder), ...rest].join('#') : text;
}

/** A path of the store, a link into it, a list of paths, or a folder with a flake; undefined when it is no local path. */
async function parseLocalPath(text: string, context: RootRequestContext): Promise<RootRequest | undefined> {
  const absolute = resolve(context.workingDirectory, text);
  const inStore = storePathAbove(absolute, context.storeDir);
  if (inStore !== undefined) return storeRequest(inStore, inStore);
  if (!existsSync(absolute)) return undefined;
  const target = await followLinksToStore(absolute, context.storeDir);
  if (target !== undefined) return storeRequest(absolute, target);
  const status = statSync(absolute);
  if (status.isDirectory() && existsSync(join(absolute, 'flake.nix'))) {
    return {
      kind: 'installable',
      request: absolute,
      installable: { kind: 'flake', reference: absolute, outputs: 'default' },
    };
  }
  if (status.isFile() || status.isFIFO()) {
    if (absolute.endsWith('.nix')) {
      throw new NixferryError('bad-root', `${text} is a Nix expression`, {
        hint: `write -f ${text}, and -A ATTR for one attribute of it`,
      });
    }
    return { kind: 'list', request: absolute, source: absolute };
  }
  const isRepository = existsSync(join(absolute, '.git')) || existsSync(join(absolute, 'objects'));
  throw new NixferryError('bad-root', `${text} is a folder outside ${context.storeDir}, without a flake.nix`, {
    hint: isRepository ? `as a repository of git, it is written git+file://${absolute}` : HINT,
  });
}

/** Follows links only as far as the store: a store path that is itself a link stands for itself, as in Nix. */
async function followLinksToStore(path: string, storeDir: string): Promise<string | undefined> {
  let current = path;
  for (let hops = 0; hops < MAX_LINKS; hops += 1) {
    const above = storePathAbove(current, storeDir);
    if (above !== undefined) return above;
    const folder = await realpath(dirname(current));
    current = join(folder, basename(current));
    const status = await lstat(current);
    if (!status.isSymbolicLink()) return storePathAbove(current, storeDir);
    current = resolve(folder, await readlink(current));
  }
  throw new NixferryError('bad-root', `${path} is a link that leads in a circle`, { hint: HINT });
}

function storeRequest(request: string, path: string): RootRequest {
  return { kind: path.endsWith('.drv') ? 'derivation' : 'store-path', request, path };
}

/** `/nix/store/HASH-name` for that path and everything below it. */
function storePathAbove(path: string, storeDir: string): string | undefined {
  if (!path.startsWith(`${storeDir}/`)) return undefined;
  const name = path.slice(storeDir.length + 1).split('/')[0];
  return name === undefined || name === '' ? undefined : `${storeDir}/${name}`;
}
