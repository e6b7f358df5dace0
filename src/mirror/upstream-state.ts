/** How an upstream of a caching proxy is, as the fetcher tells the server, and the server everybody. */
export interface UpstreamState {
  /** Without credentials. */
  readonly url: string;
  /** `unusable`: what is there is not the cache that it was given as; somebody has to correct something. */
  readonly state: 'up' | 'down' | 'unusable' | 'not known yet';
  /** Why it is not up. */
  readonly reason?: string | undefined;
  /** What to do about that. */
  readonly next?: string | undefined;
  /** Narinfos of it that were not passed on since the start, and what was wrong with the last one; its path. */
  readonly refused?: { readonly answers: number; readonly lastReason: string; readonly lastPath: string } | undefined;
}
