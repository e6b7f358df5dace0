import type { Stats } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { NixferryError, systemErrorCode } from '../base/errors.ts';
import { showUrl } from '../base/http/shown-url.ts';
import type { HttpClient } from '../base/http-client.ts';
import { LIMITS } from '../base/limits.ts';
import { DEFAULT_CHANNELS_BASE } from './channel.ts';

/** What is carried of a release's folder, as far as it is there: what Nix and people's tools read. Images of installers are not. */
export const CHANNEL_FILES = [
  'nixexprs.tar.xz',
  'git-revision',
  'store-paths.xz',
  'binary-cache-url',
  'src-url',
  'packages.json.br',
  'options.json.br',
] as const;

/** What `nix-channel` cannot do without. */
export const CHANNEL_EXPRESSIONS = 'nixexprs.tar.xz';

/** The release that a channel leads to now: all that is read through it is of that one release, even when the channel moves on meanwhile. */
export interface ChannelRelease {
  /** Of the channel. */
  readonly name: string;
  /** What the release's folder is called; undefined where the channel does not say. */
  readonly release: string | undefined;
  /** Of a file in it; for `readStorePathsList`. */
  address(file: string): string;
  /** Undefined where there is no such file. Throws HttpError, and what keeps a file from being read. */
  read(file: string): Promise<Buffer | undefined>;
  /** Undefined where there is no such file, or nobody says how long it is. Throws as `read` does. */
  sizeBytes(file: string): Promise<number | undefined>;
}

export interface ChannelReleaseOptions {
  readonly http: HttpClient;
  /** Where channels are looked for; default DEFAULT_CHANNELS_BASE. */
  readonly channelsBase?: string | undefined;
  readonly signal: AbortSignal;
}

/** Follows a channel to its release, as `nix-channel` does. Throws HttpError when nobody answers. */
export async function findChannelRelease(name: string, options: ChannelReleaseOptions): Promise<ChannelRelease> {
  const base = (options.channelsBase ?? DEFAULT_CHANNELS_BASE).replace(/\/+$/, '');
  if (/^https?:\/\//i.test(base)) return followChannel(name, `${base}/${name}`, options);
  const folder = join(/^file:/i.test(base) ? fileURLToPath(base) : base, name);
  const address = (file: string) => join(folder, file);
  return {
    name,
    release: undefined,
    address,
    read: (file) => readWhole(address(file), options.signal),
    sizeBytes: async (file) => (await statIfThere(address(file)))?.size,
  };
}

async function followChannel(
  name: string,
  asked: string,
  { http, signal }: ChannelReleaseOptions,
): Promise<ChannelRelease> {
  const response = await http.get(asked, { signal, accept: NOT_THERE });
  response.body.drain();
  const folder = new URL(response.status === 200 ? response.url : asked);
  folder.search = '';
  folder.hash = '';
  const last = basename(folder.pathname);
  const address = (file: string) => `${folder.href.replace(/\/+$/, '')}/${file}`;
  return {
    name,
    release: last !== name && RELEASE_NAME.test(last) ? last : undefined,
    address,
    read: async (file) => {
      const { status, bytes } = await http.getBytes(address(file), {
        maxBytes: LIMITS.channelFileBytes,
        signal,
        accept: NOT_THERE,
      });
      return status === 200 ? bytes : undefined;
    },
    sizeBytes: async (file) => {
      const { status, headers, body } = await http.get(address(file), { signal, accept: NOT_THERE });
      body.cancel();
      const length = Number(headers['content-length'] ?? Number.NaN);
      return status === 200 && Number.isSafeInteger(length) && length >= 0 ? length : undefined;
    },
  };
}

// An object store answers 403 for what it has not.
const NOT_THERE = [403, 404, 410];

/** What a release may be called: also the name of a store path, and of a folder. */
export const RELEASE_NAME = /^[A-Za-z0-9][A-Za-z0-9._+-]{0,150}$/;

async function readWhole(file: string, signal: AbortSignal): Promise<Buffer | undefined> {
  const stats = await statIfThere(file);
  if (stats === undefined) return undefined;
  if (stats.size > LIMITS.channelFileBytes) {
    throw new NixferryError('damage', `${showUrl(file)} is larger than any file of a channel`);
  }
  return readFile(file, { signal });
}

async function statIfThere(file: string): Promise<Stats | undefined> {
  try {
    return await stat(file);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}
