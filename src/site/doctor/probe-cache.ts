import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readFileIfExists } from '../../base/files.ts';
import { type HttpClient, HttpError } from '../../base/http-client.ts';
import { LIMITS } from '../../base/limits.ts';
import { CACHE_INFO_NAME } from '../../mirror/layout.ts';
import { parseServerStatus, SERVER_STATUS_ADDRESS, type ServerStatus } from '../../mirror/server-status.ts';
import type { UpstreamState } from '../../mirror/upstream-state.ts';
import { type CacheInfo, parseCacheInfo } from '../../nix/cache-info.ts';
import { NixFormatError } from '../../nix/format-error.ts';
import { bounded, lookUpName } from './bounded.ts';
import { below, cacheUrl } from './cache-url.ts';
import { askUpstreams } from './check-upstreams.ts';

/** A substituter as it was asked. */
export interface CacheProbe {
  /** As it stands in the settings. */
  readonly address: string;
  readonly state: CacheState;
  /** When it is a cache. */
  readonly info?: CacheInfo | undefined;
  /** When Nixferry serves it. */
  readonly server?: ServerStatus | undefined;
  /** The caches that such a server fetches from. */
  readonly upstreams?: readonly UpstreamState[] | undefined;
  /** How far its clock is ahead of ours. */
  readonly aheadMs?: number | undefined;
  readonly tookMs: number;
}

export type CacheState =
  | { readonly is: 'answering' }
  /** Its name leads nowhere, nobody answers, or too late. */
  | { readonly is: 'unreachable'; readonly why: string; readonly by: 'dns' | 'connection' | 'time' }
  /** Somebody answers, and refuses us. */
  | { readonly is: 'refusing'; readonly status: number }
  /** Somebody answers, and is no binary cache. */
  | { readonly is: 'no-cache'; readonly why: string }
  /** An address that only Nix can follow (s3, ssh, a daemon). */
  | { readonly is: 'not-asked' };

export interface ProbeTools {
  readonly http: HttpClient;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  readonly behindProxy: boolean;
}

/** Asks a substituter what every command of Nix asks first. Never takes much longer than four times `timeoutMs`. */
export async function probeCache(address: string, tools: ProbeTools): Promise<CacheProbe> {
  const started = performance.now();
  const done = (rest: Omit<CacheProbe, 'address' | 'tookMs'>): CacheProbe => {
    return { address, tookMs: performance.now() - started, ...rest };
  };
  const url = cacheUrl(address);
  if (url?.protocol === 'file:') return done(await probeFolder(fileURLToPath(url)));
  if (url === undefined || !url.protocol.startsWith('http')) return done({ state: { is: 'not-asked' } });
  const lost = tools.behindProxy ? undefined : await findName(url, tools);
  if (lost !== undefined) return done({ state: lost });
  const answer = await bounded(tools.timeoutMs, tools.signal, (signal) =>
    tools.http.getBytes(below(url, CACHE_INFO_NAME), { maxBytes: LIMITS.cacheInfoBytes, signal }),
  );
  if ('late' in answer) return done({ state: late(tools.timeoutMs) });
  if ('error' in answer) return done({ state: explain(answer.error) });
  const { headers, bytes } = answer.value;
  try {
    const info = parseCacheInfo(bytes);
    if (!bytes.toString().includes('StoreDir:')) throw new NixFormatError('nix-cache-info', 'it names no StoreDir');
    const server = await askServer(url, tools);
    const upstreams = server === undefined ? [] : await askUpstreams(url, tools);
    return done({ state: { is: 'answering' }, info, server, upstreams, aheadMs: clockDifference(headers['date']) });
  } catch (error) {
    if (!(error instanceof NixFormatError)) throw error;
    return done({ state: { is: 'no-cache', why: error.message } });
  }
}

async function findName(url: URL, { timeoutMs, signal }: ProbeTools): Promise<CacheState | undefined> {
  const name = url.hostname.replace(/^\[|\]$/g, '');
  if (/^[\d.]+$|:/.test(name)) return undefined;
  const found = await bounded(timeoutMs, signal, (limit) => lookUpName(name, limit));
  if ('late' in found) {
    return { is: 'unreachable', by: 'dns', why: `no name server said what ${name} is within ${timeoutMs / 1000} s` };
  }
  if ('error' in found || found.value === undefined || found.value.length > 0) return undefined;
  return { is: 'unreachable', by: 'dns', why: `the name ${name} is unknown here` };
}

function late(timeoutMs: number): CacheState {
  return { is: 'unreachable', by: 'time', why: `no answer within ${timeoutMs / 1000} s` };
}

function explain(error: unknown): CacheState {
  if (!(error instanceof HttpError)) throw error;
  const { failure, status, what } = error;
  if (status === 401 || status === 403 || status === 407) return { is: 'refusing', status };
  if (failure === 'status') return { is: 'no-cache', why: what };
  return { is: 'unreachable', by: 'connection', why: what };
}

async function probeFolder(folder: string): Promise<Omit<CacheProbe, 'address' | 'tookMs'>> {
  const stats = await stat(folder).catch(() => undefined);
  if (stats === undefined)
    return { state: { is: 'unreachable', by: 'connection', why: `there is no folder ${folder}` } };
  const bytes = await readFileIfExists(join(folder, CACHE_INFO_NAME), LIMITS.cacheInfoBytes).catch(() => undefined);
  if (bytes === undefined) return { state: { is: 'no-cache', why: `${folder} has no ${CACHE_INFO_NAME}` } };
  try {
    return { state: { is: 'answering' }, info: parseCacheInfo(bytes) };
  } catch (error) {
    if (!(error instanceof NixFormatError)) throw error;
    return { state: { is: 'no-cache', why: error.message } };
  }
}

/** What a Nixferry says of itself; undefined for everybody else. */
async function askServer(url: URL, { http, timeoutMs, signal }: ProbeTools): Promise<ServerStatus | undefined> {
  const answer = await bounded(timeoutMs, signal, (limit) =>
    http.getBytes(below(url, SERVER_STATUS_ADDRESS), { maxBytes: LIMITS.serverStatusBytes, signal: limit }),
  );
  return 'value' in answer ? parseServerStatus(answer.value.bytes) : undefined;
}

function clockDifference(date: unknown): number | undefined {
  const serverMs = typeof date === 'string' ? Date.parse(date) : Number.NaN;
  return Number.isNaN(serverMs) ? undefined : serverMs - Date.now();
}
