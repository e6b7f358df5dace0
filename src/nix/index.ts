// The one barrel of the project: what `nixferry/nix` offers to others. Inside the project, import the files themselves.
export { BASE32_ALPHABET, base32Length, decodeBase32, encodeBase32 } from './base32.ts';
export { decodeBase64 } from './base64.ts';
export { type CacheInfo, formatCacheInfo, isStoreDir, parseCacheInfo } from './cache-info.ts';
export {
  type ContentAddress,
  type ContentAddressMethod,
  contentAddressNamesPath,
  formatContentAddress,
  parseContentAddress,
  storePathOf,
} from './content-address.ts';
export {
  type Derivation,
  type DerivationOutput,
  formatDerivation,
  type InputOutputs,
  parseDerivation,
} from './derivation.ts';
export {
  booleanAttribute,
  derivationAttributes,
  type JsonValue,
  stringAttribute,
  stringsAttribute,
  structuredAttributes,
} from './derivation-attributes.ts';
export {
  derivationKind,
  fixedOutput,
  isContentAddressed,
  isFixedOutput,
  isFloating,
  type OutputKind,
  outputKind,
  outputPaths,
} from './derivation-output.ts';
export { NixFormatError, quoteForMessage } from './format-error.ts';
export {
  DIGEST_BYTES,
  formatHash,
  type Hash,
  type HashAlgorithm,
  type HashEncoding,
  hashAlgorithm,
  hashBytes,
  hashDigest,
  hashFromDigest,
  isHashAlgorithm,
  parseHash,
} from './hash.ts';
export { NAR_LIMITS, type NarLimits, type NarPath } from './nar-format.ts';
export {
  formatNarListing,
  NAR_LISTING_LIMITS,
  type NarListing,
  NarListingBuilder,
  type NarListingDirectory,
  type NarListingRegular,
  type NarListingSymlink,
  narListing,
  parseNarListing,
} from './nar-listing.ts';
export {
  type NarDirectory,
  type NarEvent,
  NarParser,
  type NarRegular,
  type NarSymlink,
  type NarVisitor,
  readNar,
} from './nar-reader.ts';
export {
  type NarDirectoryEntry,
  type NarDirectoryNode,
  type NarNode,
  type NarRegularNode,
  type NarSymlinkNode,
  writeNar,
} from './nar-writer.ts';
export { formatNarInfo, type NarInfo, narInfoFingerprint, parseNarInfo } from './narinfo.ts';
export { type OutputName, outputNameOf, type PackageName, parsePackageName } from './package-name.ts';
export {
  formatRealisation,
  formatRealisationPath,
  parseRealisation,
  parseRealisationPath,
  type Realisation,
  type RealisationKey,
  realisationFingerprint,
  signRealisation,
  trustedRealisationSignature,
} from './realisation.ts';
export {
  formatPublicKey,
  formatSecretKey,
  generateSecretKey,
  isWellFormedSignature,
  type PublicKey,
  parsePublicKey,
  parseSecretKey,
  publicKeyOf,
  type SecretKey,
  signNarInfo,
  signText,
  trustedSignature,
  verifySignature,
} from './signature.ts';
export {
  baseNameOf,
  DEFAULT_STORE_DIR,
  HASH_PART_LENGTH,
  type HashPart,
  hashPartOf,
  isHashPart,
  makeStorePath,
  NAME_LENGTH_MAX,
  nameOf,
  parseHashPart,
  parseStorePath,
  type StorePath,
  type StorePathBaseName,
  storeDirOf,
  storePathFromBaseName,
} from './store-path.ts';
export {
  makeFixedOutputPath,
  makeOutputPath,
  makeSourcePath,
  makeTextPath,
  type PathReferences,
} from './store-path-kinds.ts';
