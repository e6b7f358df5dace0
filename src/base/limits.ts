// Every bound on what comes from outside, in one place. Units stand in the names. A bound here is generous
// for honest data and small against memory.

export const LIMITS = {
  // Formats
  narInfoBytes: 4 * 1024 * 1024,
  cacheInfoBytes: 64 * 1024,
  narDepth: 256,
  narNameBytes: 255,
  narTargetBytes: 4095,
  narDirectoryEntries: 4_000_000,
  derivationBytes: 64 * 1024 * 1024,
  realisationBytes: 1024 * 1024,
  storePathsListBytes: 512 * 1024 * 1024,
  configBytes: 1024 * 1024,
  // Asking Nix
  nixOutputBytes: 256 * 1024 * 1024,
  nixComplaintCharacters: 4000,
  nixPathsPerQuery: 500,
  // The mirror
  storageReadBytes: 64 * 1024 * 1024,
  storageBatchFiles: 4096,
  fileSyncsInFlight: 16,
  fileChunkBytes: 256 * 1024,
  mirrorFormatBytes: 64 * 1024,
  keyFileBytes: 4096,
  rootRecordBytes: 512 * 1024 * 1024,
  indexBatchRows: 10_000,
  narInfoReadsInFlight: 32,
  intakeMemoryBytes: 256 * 1024 * 1024,
  intakeAttempts: 5,
  // Shipments
  manifestBytes: 1024 * 1024,
  manifestSignatureBytes: 64 * 1024,
  shipmentRoots: 4096,
  shipmentVolumes: 8192,
  inventoryLineBytes: 16 * 1024 * 1024,
  inventoryBytes: 8 * 1024 * 1024 * 1024,
  // HTTP as a client
  narInfoRequestsInFlight: 256,
  narDownloadsInFlight: 24,
  httpConnectTimeoutMs: 10_000,
  httpStallTimeoutMs: 60_000,
  httpAttempts: 5,
  httpRedirects: 10,
  retryBaseMs: 250,
  retryCeilingMs: 60_000,
  // HTTP as a server
  requestUrlBytes: 4096,
  shutdownGraceMs: 30_000,
  // Decompression
  xzOneShotCompressedBytes: 8 * 1024 * 1024,
  xzOneShotOutputBytes: 64 * 1024 * 1024,
  xzFallbackCompressedBytes: 64 * 1024 * 1024,
  xzFallbackOutputBytes: 256 * 1024 * 1024,
  xzDecoderMemoryBytes: 512 * 1024 * 1024,
  zstdWindowLog: 27,
  decompressedChunkBytes: 256 * 1024,
  programStderrBytes: 1024,
} as const;
