/** The bounds of the caching proxy, a part of `LIMITS`. */
export const PROXY_LIMITS = {
  /** For one question to one upstream; then the answer is that nobody has it. */
  proxyAskMs: 5000,
  /** For an upstream's first word when the server starts. */
  proxyFirstProbeMs: 2000,
  /** How often a dead upstream is tried. */
  proxyProbeBaseMs: 1000,
  proxyProbeCeilingMs: 30_000,
  proxyFailuresToOpen: 5,
  /** What a serving process waits for an answer of the fetcher; and for the fetcher itself, when that has died. */
  proxyAnswerMs: 15_000,
  proxyConnectMs: 15_000,
  /** Of one serving process. */
  proxyQuestionsInFlight: 8192,
  proxyMessageBytes: 32 * 1024 * 1024,
  proxyQueueBytes: 64 * 1024 * 1024,
  proxyPathsAsked: 20_000,
  proxyFilesAsked: 32,
  proxySmallFileBytes: 16 * 1024 * 1024,
  proxyOffersKept: 200_000,
  proxyOfferFreshMs: 10 * 60_000,
  proxyAbsentKept: 50_000,
  proxyAbsentMs: 30_000,
  proxyDownloadsAtOnce: 16,
  proxyDownloadsWaiting: 1024,
  proxyStallMs: 30_000,
  proxyProgressMs: 20,
  /** What of an answer is kept back until all of it is verified; the whole answer, if that is shorter. */
  proxyHeldBackBytes: 64 * 1024,
  /** Of the disk, for others: what does not fit beside it is not kept. */
  proxySpareBytes: 256 * 1024 * 1024,
  /** What is passed on without being kept: all together, of the disk for others, and how long after it was verified. */
  proxyPassedBytes: 2 * 1024 * 1024 * 1024,
  proxyPassedSpareBytes: 64 * 1024 * 1024,
  proxyPassedMs: 60_000,
  /** Offers that could not be written down, and the time until that is tried again. */
  proxyOffersUnwritten: 10_000,
  proxyOffersRetryMs: 5000,
  proxyHeldPaths: 50_000,
  /** A path that could not be published and that nobody asked for. */
  proxyHeldMs: 30 * 24 * 3600_000,
  proxyPartialMs: 7 * 24 * 3600_000,
  proxyPublishDelayMs: 2000,
  proxyPublishRetryMs: 10_000,
  proxyLockedRetryMs: 2000,
  proxyWavePaths: 1024,
  proxyVisibleKnown: 200_000,
  proxyMirrorCheckMs: 20_000,
  proxyRealisationsBytes: 16 * 1024 * 1024,
  proxyLookAheadAtOnce: 4,
  proxyLookAheadWaiting: 20_000,
  proxyRestartBaseMs: 250,
  proxyRestartCeilingMs: 30_000,
} as const;
