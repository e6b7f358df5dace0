import { LIMITS } from '../base/limits.ts';

// How repositories of git are addressed outside, and where a mirror has them: `git/HOST/PATH.git`, whatever the protocol, for it is the same repository.

export interface RepositoryAddress {
  /** As git takes it. */
  readonly url: string;
  /** `git.example.org/team/lib.git`; one of this machine is below `localhost`. */
  readonly place: string;
}

/** Where the repositories lie in a mirror, and below the address of a server. */
export const REPOSITORIES_PREFIX = 'git/';

/**
 * Reads what git takes for the address of a repository: `https://…`, `http://…`, `ssh://…`, `git://…`, `file:///…`, `user@host:path`. Undefined for others, for those that hold
 * a password, and for those whose path cannot be that of files which are served.
 */
export function parseRepositoryAddress(text: string): RepositoryAddress | undefined {
  if (Buffer.byteLength(text) > LIMITS.repositoryAddressBytes) return undefined;
  const [, user, scpHost, scpPath] = SCP.exec(text) ?? [];
  const full = scpHost === undefined ? text : `ssh://${user}@${scpHost}/${scpPath}`;
  const [, scheme = '', authority = '', path = ''] = ADDRESS.exec(full) ?? [];
  const host = authority.slice(authority.indexOf('@') + 1).toLowerCase();
  const isFile = scheme === 'file';
  if (isFile ? !['', 'localhost'].includes(authority) : !HOST.test(host)) return undefined;
  if (!isFile && !/^(?:[A-Za-z0-9._~-]+@)?$/.test(authority.slice(0, -host.length))) return undefined;
  const place = `${isFile ? 'localhost' : host}/${path.replace(/\/+$/, '').replace(/\.git$/, '')}.git`;
  return isRepositoryPlace(place) ? { url: full, place } : undefined;
}

/** No part leads anywhere else, and no repository lies inside another one. */
export function isRepositoryPlace(place: string): boolean {
  const [host = '', ...path] = place.split('/');
  const last = path.pop() ?? '';
  const isWhole = Buffer.byteLength(place) <= LIMITS.repositoryAddressBytes - 200 && last.endsWith('.git');
  const isPlain = [...path, last.slice(0, -'.git'.length)].every((part) => PART.test(part) && part.length <= 200);
  return isWhole && isPlain && HOST.test(host) && !path.some((part) => part.endsWith('.git'));
}

/** The folder of a repository in a mirror. */
export function repositoryFolder(place: string): string {
  return `${REPOSITORIES_PREFIX}${place}`;
}

/** A file of a repository, by its name in a mirror. */
export function repositoryFile(place: string, file: string): string {
  return `${repositoryFolder(place)}/${file}`;
}

/** What addresses begin with, and what they are to begin with instead, for git to ask a mirror: its `url.BASE.insteadOf`. */
export interface AddressRewrite {
  /** Below the address of the server. */
  readonly base: string;
  readonly insteadOf: readonly string[];
}

/** For every host one, with each protocol that its repositories are usually asked for by; for repositories of a file system one for each folder. */
export function addressRewrites(urls: readonly string[]): AddressRewrite[] {
  const rewrites = new Map<string, Set<string>>();
  for (const url of urls) {
    const address = parseRepositoryAddress(url);
    const [, scheme = '', authority = '', path = ''] = ADDRESS.exec(address?.url ?? '') ?? [];
    if (address === undefined) continue;
    const [host = ''] = address.place.split('/');
    const isFile = scheme === 'file';
    const folder = isFile ? path.replace(/\/+$/, '').replace(/[^/]+$/, '') : '';
    const base = `${REPOSITORIES_PREFIX}${host}/${folder}`;
    const prefixes = rewrites.get(base) ?? new Set<string>();
    rewrites.set(base, prefixes);
    prefixes.add(`${scheme}://${authority}/${folder}`);
    if (!isFile && !host.includes(':')) {
      for (const usual of [`https://${host}/`, `ssh://git@${host}/`, `git@${host}:`]) prefixes.add(usual);
    }
  }
  return [...rewrites]
    .map(([base, prefixes]) => ({ base, insteadOf: [...prefixes].toSorted() }))
    .toSorted((a, b) => (a.base < b.base ? -1 : 1));
}

const ADDRESS = /^(https?|ssh|git|file):\/\/([^/]*)\/+(.*)$/;
const SCP = /^([A-Za-z0-9_][A-Za-z0-9._-]*)@([A-Za-z0-9][A-Za-z0-9.-]*):(?!\/\/)\/*(.+)$/;
const HOST = /^(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)(?::[0-9]{1,5})?$/;
const PART = /^[A-Za-z0-9_~][A-Za-z0-9._~+@-]*$/;
