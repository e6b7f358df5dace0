// The one barrel of the project: what `nixferry/nix` offers to others. Inside the project, import the files themselves.
export * from './base32.ts';
export * from './base64.ts';
export * from './cache-info.ts';
export * from './content-address.ts';
export * from './derivation.ts';
export * from './derivation-attributes.ts';
export * from './derivation-output.ts';
export * from './format-error.ts';
export * from './hash.ts';
export { NAR_LIMITS, type NarLimits, type NarPath } from './nar-format.ts';
export * from './nar-listing.ts';
export * from './nar-reader.ts';
export * from './nar-writer.ts';
export * from './narinfo.ts';
export * from './realisation.ts';
export * from './signature.ts';
export * from './store-path.ts';
export * from './store-path-kinds.ts';
