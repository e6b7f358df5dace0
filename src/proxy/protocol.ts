// src/proxy is what lets a mirror answer for other caches: one process of its own, the fetcher, asks upstreams, takes NARs in and publishes them;
// the processes that serve ask it over a socket in a private folder (proxy-client.ts) and send what it has written. Nothing here speaks HTTP to
// clients, and what the serving side imports of it (protocol, line-channel, proxy-client, growing-nar, fetcher-process) opens no connection to
// another machine. This file is what the two sides say to each other: one JSON object a line, each with the number of the question.

import type { ErrorCode } from '../base/errors.ts';
import type { UpstreamState } from '../mirror/upstream-state.ts';

export type Question =
  | { readonly ask: 'narinfo'; readonly hashPart: string }
  /** `name` as clients ask, `nar/…`. With `head` nothing is fetched. */
  | { readonly ask: 'nar'; readonly name: string; readonly head: boolean }
  /** A small file beside narinfos: `log/…`, `realisations/…`, `HASH.ls`. */
  | { readonly ask: 'file'; readonly name: string }
  | { readonly ask: 'states' }
  /** Of the question with the same number nothing more is wanted. */
  | { readonly ask: 'cancel' };

export type Answer =
  | { readonly say: 'narinfo'; readonly text: string | null }
  | { readonly say: 'file'; readonly base64: string | null }
  /** With the number 0, unasked: an upstream is gone, and so is all that was said to be had there. */
  | { readonly say: 'lost' }
  | (ProxyFacts & { readonly say: 'states' })
  | NarEvent;

/** What happens to a NAR; all but `known` and `growing` are the last word. */
export type NarEvent =
  | { readonly say: 'known'; readonly sizeBytes?: number | undefined }
  /** So much of the file is there, unverified. Undefined size: nobody has stated it. */
  | {
      readonly say: 'growing';
      readonly file: string;
      readonly availableBytes: number;
      readonly sizeBytes?: number | undefined;
    }
  | { readonly say: 'verified'; readonly file: string; readonly sizeBytes: number }
  /** In the mirror, under this name. */
  | { readonly say: 'here'; readonly name: string }
  | { readonly say: 'absent' }
  | { readonly say: 'failed' };

/** How the proxy is doing. */
export interface ProxyFacts {
  readonly upstreams: readonly UpstreamState[];
  /** What has been fetched and verified since the fetcher was started. */
  readonly fetched: FetchedAmount;
  /** Of what was fetched, now or before: what waits until all that it refers to is here, too. */
  readonly waiting: FetchedAmount;
}

export interface FetchedAmount {
  readonly paths: number;
  /** Of the NAR files. */
  readonly fileBytes: number;
}

export type Numbered<Message> = Message & { readonly id: number };

/** What the fetcher's process is told in its environment, as JSON. */
export interface FetcherSettings extends ProxyOptions {
  readonly mirrorDirectory: string;
  readonly socketFile: string;
  readonly logLevel: string;
}

/** Which upstreams, and how they are dealt with. */
export interface ProxyOptions {
  /** Addresses as the user wrote them. */
  readonly upstreams: readonly string[];
  /** `name:base64` */
  readonly trustedPublicKeys: readonly string[];
  /** Whether narinfos get the mirror's signature beside those that they have. */
  readonly sign: boolean;
  readonly lookAhead: boolean;
  readonly netrcFile?: string | undefined;
  readonly caFile?: string | undefined;
}

export const FETCHER_SETTINGS_VARIABLE = 'NIXFERRY_PROXY_FETCHER';

/** What the fetcher tells the process that started it. */
export type FetcherReport =
  | { readonly type: 'ready'; readonly upstreams: readonly UpstreamState[] }
  | {
      readonly type: 'failed';
      readonly code: ErrorCode | undefined;
      readonly message: string;
      readonly hint: string | undefined;
    };

export function isFetcherReport(message: unknown): message is FetcherReport {
  const type = typeof message === 'object' && message !== null && 'type' in message ? message.type : undefined;
  return type === 'ready' || type === 'failed';
}
