// Every bound on what comes from outside, in one place (those of the caching proxy stand beside this file). Units stand in the names. A bound here is generous
// for honest data and small against memory.

import { PROXY_LIMITS } from './proxy-limits.ts';

export const LIMITS = {
  // Formats
  narInfoBytes: 4 * 1024 * 1024,
  cacheInfoBytes: 64 * 1024,
  derivationBytes: 64 * 1024 * 1024,
  realisationBytes: 1024 * 1024,
  storePathsListBytes: 512 * 1024 * 1024,
  configBytes: 1024 * 1024,
  flakeLockBytes: 16 * 1024 * 1024,
  // Collecting
  pathsPerPublishWave: 256,
  // Sources
  /** From the host of one address, however many are fetched in all. */
  sourceTransfersPerHost: 4,
  sourceHttpAttempts: 3,
  sourceFileBytes: 64 * 1024 * 1024 * 1024,
  unpackedSourceBytes: 128 * 1024 * 1024 * 1024,
  unpackedSourceEntries: 4_000_000,
  linkTargetBytes: 4095,
  sourceBuildsAtOnce: 2,
  sourceFolderFiles: 5_000_000,
  sourceFilesHashedAtOnce: 4,
  /** Evaluated in one process; its memory grows with them. */
  packagesPerWalk: 400,
  packageWalkHeapBytes: 6 * 1024 * 1024 * 1024,
  packageJournalBytes: 400 * 1024 * 1024,
  sourceHashesBytes: 2 * 1024 * 1024 * 1024,
  // Closures
  derivationReadsInFlight: 64,
  derivationDecodesInFlight: 16,
  // Asking Nix
  nixOutputBytes: 256 * 1024 * 1024,
  nixComplaintCharacters: 4000,
  nixPathsPerQuery: 500,
  nixLogLineCharacters: 16 * 1024 * 1024,
  localFilesAtOnce: 32,
  sourceFolders: 2000,
  nixStatisticsBytes: 1024 * 1024,
  variantBytes: 64 * 1024,
  minverBytes: 64 * 1024,
  // Taking a Nix along
  nixPathsFileBytes: 64 * 1024,
  programLinkHops: 16,
  unpacksAtOnce: 4,
  // Rehearsing
  roomFilesInFlight: 64,
  rehearsalBuildLogLines: 30,
  rehearsalLineCharacters: 1000,
  rehearsalSaidCharacters: 256 * 1024,
  /** A log is a page for people; it travels with the shipment. */
  rehearsalLogBytes: 8 * 1024 * 1024,
  rehearsalRecordBytes: 64 * 1024 * 1024,
  rehearsalsKept: 50,
  rehearsalsShipped: 16,
  // The mirror
  storageReadBytes: 64 * 1024 * 1024,
  storageBatchFiles: 4096,
  fileSyncsInFlight: 16,
  filesPerSlice: 256,
  fileSyncsOneByOne: 32,
  fileChunkBytes: 256 * 1024,
  mirrorFormatBytes: 64 * 1024,
  keyFileBytes: 4096,
  rootRecordBytes: 512 * 1024 * 1024,
  indexBatchRows: 10_000,
  narInfoReadsInFlight: 32,
  receiveMemoryBytes: 96 * 1024 * 1024,
  decodeMemoryBytes: 160 * 1024 * 1024,
  /** On their way through each transfer that goes to the disk first. */
  batchReceiveBytes: 1024 * 1024,
  partialFlushMs: 2000,
  partialFlushBytes: 1024 * 1024,
  flatFilesPerBatch: 256,
  flatFilesHashedAtOnce: 4,
  /** Of a derivation of `builtin:fetchurl`, as NAR. */
  fetchDerivationBytes: 16 * 1024,
  // Shipments
  manifestBytes: 1024 * 1024,
  manifestSignatureBytes: 64 * 1024,
  packJournalBytes: 8 * 1024 * 1024,
  shipmentRoots: 4096,
  /** Derivations that one root may name: a large list of packages, times its variants. */
  rootTargets: 30_000,
  shipmentVolumes: 8192,
  shipmentToolFiles: 100,
  shipmentsLost: 1000,
  /** A receipt over a million paths takes some 40 MB. */
  receiptBytes: 128 * 1024 * 1024,
  receiptHeaderBytes: 8 * 1024 * 1024,
  receiptTextBytes: 512 * 1024 * 1024,
  receiptShipments: 20_000,
  /** Of each site, to know again what was acknowledged before. */
  receiptsRemembered: 1000,
  toolsListBytes: 64 * 1024,
  /** Held by NARs on their way from a medium into the mirror, beside what decodes them. */
  importMemoryBytes: 32 * 1024 * 1024,
  importWavePaths: 2048,
  importWaveBytes: 1024 * 1024 * 1024,
  shippedSignatures: 64,
  shippedFileBytes: 64 * 1024 * 1024,
  /** A path has some thousand references at most; 100,000 fit. */
  inventoryLineBytes: 8 * 1024 * 1024,
  inventoryBytes: 8 * 1024 * 1024 * 1024,
  // Evaluating on the isolated side
  channelFileBytes: 256 * 1024 * 1024,
  /** Of what clients asked for in vain: in the mirror, and of one serving process until it is written down. */
  missesKept: 20_000,
  missesInMemory: 20_000,
  missFlushMs: 2000,
  wantBytes: 64 * 1024 * 1024,
  wantDerivations: 200_000,
  wantDerivationsBytes: 512 * 1024 * 1024,
  evaluationInputsBytes: 64 * 1024 * 1024,
  // Repositories of git
  /** Of one want list, those that are fetched without being named. */
  wantedRepositories: 100,
  gitRefs: 500_000,
  gitRefsBytes: 128 * 1024 * 1024,
  gitOutputBytes: 128 * 1024 * 1024,
  gitComplaintCharacters: 4000,
  /** Of a pack, the largest file of a repository. */
  gitFileBytes: 256 * 1024 * 1024 * 1024,
  /** Without a word of git or of the host on the other side. */
  gitSilenceMs: 600_000,
  gitLowSpeedSeconds: 120,
  /** Bundles that build on one another, before one with everything begins anew. */
  gitBundlesChained: 64,
  gitBundlesFollowed: 1000,
  gitPointerBytes: 1024 * 1024,
  repositoryAddressBytes: 1000,
  repositoriesPerRoot: 1000,
  // What show says of a shipment
  /** Addresses, licences and sources that are taken from one derivation. */
  describedTexts: 32,
  describedTextCharacters: 2000,
  /** Remembered at once; one more costs reading it again. */
  describedDerivations: 4096,
  describedReferrers: 1000,
  // HTTP as a client
  narInfoRequestsInFlight: 256,
  narDownloadsInFlight: 24,
  /** Come, and not yet checked: the decoder takes many at once, and is not to wait for the network. */
  receivedNarsWaiting: 128,
  httpConnectTimeoutMs: 10_000,
  httpStallTimeoutMs: 60_000,
  httpAttempts: 5,
  httpRedirects: 10,
  retryBaseMs: 250,
  retryCeilingMs: 60_000,
  /** Connections to one host over HTTP/1.1; a burst of requests shares them. */
  httpConnectionsPerHost: 64,
  /** Requests that share one HTTP/2 connection, and such connections to one host. */
  httpStreamsPerConnection: 128,
  http2ConnectionsPerHost: 2,
  http2WindowBytes: 16 * 1024 * 1024,
  /** What must arrive while a body is waited for as long as a stall may last: less is a stall, too. */
  httpSlowestBytesPerStall: 1024,
  /** How long a host that cannot be connected to is left alone before one request tries again; doubles up to the ceiling. */
  hostDownMs: 60_000,
  hostDownCeilingMs: 16 * 60_000,
  narInfoTotalMs: 120_000,
  /** A resumed transfer that has brought this much has its attempts given back. */
  resumeProgressBytes: 64 * 1024,
  proxyAnswerBytes: 16 * 1024,
  netrcBytes: 1024 * 1024,
  caFileBytes: 16 * 1024 * 1024,
  storePathsListLineBytes: 4096,
  // Looking after a client
  doctorProbeMs: 5000,
  doctorProbesAtOnce: 8,
  serverStatusBytes: 4 * 1024 * 1024,
  serverReadinessBytes: 256 * 1024,
  serverStatusRoots: 1000,
  sampledStorePaths: 48,
  narInfoCacheRows: 200_000,
  // HTTP as a server
  requestUrlBytes: 4096,
  requestHeaderBytes: 32 * 1024,
  requestTimeoutMs: 30_000,
  clientStallMs: 300_000,
  keepAliveMs: 75_000,
  connectionsPerWorker: 4096,
  shutdownGraceMs: 30_000,
  workers: 256,
  workerRestartBaseMs: 250,
  workerRestartCeilingMs: 30_000,
  /** A longer request for a narinfo is answered the slower way. */
  expressRequestBytes: 2048,
  serviceNotifyMs: 10_000,
  /** All serving processes together, as long as there is the second number for each. */
  servedNarInfoCacheBytes: 256 * 1024 * 1024,
  servedNarInfoCacheLeastBytes: 32 * 1024 * 1024,
  /** What upstreams have and the mirror has not, in all serving processes, as long as there is the second number for each; asked for again after a while. */
  servedOffersBytes: 256 * 1024 * 1024,
  servedOffersLeastBytes: 32 * 1024 * 1024,
  servedOfferMs: 5 * 60_000,
  servedListingCacheBytes: 16 * 1024 * 1024,
  servedFolderCheckMs: 250,
  servedFolderSettleMs: 3000,
  servedFoldersKnown: 1024,
  /** Read and written at once of a NAR, as long as all transfers of a process together stay below the second number; then the third. */
  transferBufferBytes: 512 * 1024,
  transferBuffersBytes: 64 * 1024 * 1024,
  transferBufferLeastBytes: 64 * 1024,
  listingNarBytes: 512 * 1024 * 1024,
  listingsAtOnce: 2,
  listingsWaiting: 64,
  hashedTransfersAtOnce: 8,
  hashedTransfersWaiting: 256,
  /** Each takes a decoder and a packer. */
  sourceTarballsAtOnce: 2,
  sourceTarballsWaiting: 64,
  /** Of what a client of git asks for, unpacked: a line for each branch that it wants and each commit that it has. */
  gitRequestBytes: 8 * 1024 * 1024,
  gitAnswersAtOnce: 4,
  gitAnswersWaiting: 16,
  /** From the server's own store: each is a file that is open, and a piece of it. */
  localTransfersAtOnce: 64,
  localTransfersWaiting: 512,
  localStoreCacheBytes: 16 * 1024 * 1024,
  localStoreDamagedPaths: 10_000,
  sourceTarballsKeptBytes: 1024 * 1024 * 1024,
  /** Left free on the disk when one is packed. */
  sourceTarballsSpareBytes: 512 * 1024 * 1024,
  onlyFoldersKnown: 256,
  missLogLinesPerSecond: 20,
  ...PROXY_LIMITS,
  // Decompression
  // Above this output, the xz program costs less processor time than the library, even with its start.
  xzOneShotCompressedBytes: 4 * 1024 * 1024,
  xzOneShotOutputBytes: 4 * 1024 * 1024,
  /** Where somebody waits for the result: what is larger is decoded by the program while it comes. */
  xzEagerBytes: 64 * 1024,
  /** What a program that takes one file after the other reads and writes at once is less (8 KiB in xz 5); of our own bytes between two files so many tell that they are ours and of the second of two streams. */
  xzBlockBytes: 32 * 1024,
  xzMarkBytes: 32 * 1024,
  xzFirstMarkBytes: 64,
  xzMarkProofBytes: 96,
  xzIdleMs: 10_000,
  xzStallMs: 5000,
  /** What one program decodes, one file after the other; files larger than the second number are decoded while they come. */
  xzBatchFiles: 64,
  xzBatchFileBytes: 32 * 1024 * 1024,
  xzIndexBytes: 64 * 1024,
  xzFallbackCompressedBytes: 64 * 1024 * 1024,
  xzFallbackOutputBytes: 256 * 1024 * 1024,
  xzDecoderMemoryBytes: 512 * 1024 * 1024,
  zstdWindowLog: 27,
  decompressedChunkBytes: 256 * 1024,
  programStderrBytes: 1024,
} as const;
