import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { NixferryError, systemErrorCode } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { findNetrcEntry, type NetrcEntry, parseNetrc } from './netrc.ts';

/** How a request came to its address; decides which credentials may go there. */
export interface Hop {
  /** The address that the caller asked for. */
  readonly asked: URL;
  /** Where this request goes: `asked` itself, or what a redirect led to. */
  readonly target: URL;
}

/** The value of an Authorization header for each request, from the address itself or from netrc. */
export class Credentials {
  readonly #file: NetrcFile;
  #entries: Promise<readonly NetrcEntry[]> | undefined;

  constructor(file: NetrcFile) {
    this.#file = file;
  }

  /**
   * Credentials in the asked address go to its origin only. After a redirect elsewhere only an entry that names the new
   * host counts, not the `default` one, and none at all when the redirect leaves TLS. Throws `usage` when a netrc file
   * that was asked for cannot be read.
   */
  async authorization({ asked, target }: Hop): Promise<string | undefined> {
    const isSameOrigin = target.origin === asked.origin;
    const { username, password } = isSameOrigin ? asked : target;
    const login = username === '' ? undefined : decodeURIComponent(username);
    if (login !== undefined && password !== '') return basic(login, decodeURIComponent(password));
    const leavesTls = asked.protocol === 'https:' && target.protocol === 'http:';
    const entry = leavesTls ? undefined : await this.#find(target.hostname, login, isSameOrigin);
    if (entry !== undefined) return basic(entry.login, entry.password);
    return login === undefined ? undefined : basic(login, '');
  }

  async #find(hostname: string, login: string | undefined, allowDefault: boolean): Promise<NetrcEntry | undefined> {
    this.#entries ??= readNetrc(this.#file);
    return findNetrcEntry(await this.#entries, { hostname, login, allowDefault });
  }
}

export interface NetrcFile {
  readonly file: string | undefined;
  /** Whether somebody named this very file, so that its absence is a mistake. */
  readonly isRequired: boolean;
}

/** The file given, else the one that NETRC names, else `~/.netrc`. */
export function chooseNetrcFile(
  explicit: string | undefined,
  environment: Readonly<Record<string, string | undefined>>,
): NetrcFile {
  if (explicit !== undefined) return { file: explicit, isRequired: true };
  const named = environment['NETRC'];
  if (named !== undefined && named !== '') return { file: named, isRequired: false };
  const home = environment['HOME'];
  return { file: home === undefined || home === '' ? undefined : join(home, '.netrc'), isRequired: false };
}

async function readNetrc({ file, isRequired }: NetrcFile): Promise<readonly NetrcEntry[]> {
  if (file === undefined) return [];
  let bytes: Buffer;
  try {
    bytes = await readFile(file);
  } catch (error) {
    const code = systemErrorCode(error);
    if (!isRequired && (code === 'ENOENT' || code === 'ENOTDIR')) return [];
    throw new NixferryError('usage', `${file}: cannot read the netrc file (${code ?? 'unknown error'})`, {
      hint: 'make it readable, or name another one with --netrc-file',
      cause: error,
    });
  }
  if (bytes.length > LIMITS.netrcBytes) {
    throw new NixferryError('usage', `${file}: too large for a netrc file`, { hint: 'name another one' });
  }
  return parseNetrc(bytes.toString());
}

function basic(login: string, password: string): string {
  return `Basic ${Buffer.from(`${login}:${password}`).toString('base64')}`;
}
