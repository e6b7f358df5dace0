import { z } from 'zod';
import type { Compression } from '../base/compression/compression.ts';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { CHANNEL_NAME, EVALUATION_INPUT_KINDS, flakeReference, rootRepository } from '../mirror/roots.ts';
import {
  baseNameOf,
  hashPartOf,
  isHashPart,
  type NarInfo,
  NixFormatError,
  parseHash,
  type StorePath,
  type StorePathBaseName,
  storePathFromBaseName,
} from '../nix/index.ts';
import { parseBoundedJson } from './bounded-json.ts';
import { isSequence } from './format.ts';
import { firstProblem } from './manifest.ts';
import type { Place } from './stream-layout.ts';
import type { TarMember } from './tar-header.ts';

/** One line of the inventory. Fields and units: docs/format.md. */
export type InventoryRecord = z.infer<typeof RecordSchema>;
export type RootLine = Extract<InventoryRecord, { type: 'root' }>;
export type PathLine = Extract<InventoryRecord, { type: 'path' }>;
export type FileLine = Extract<InventoryRecord, { type: 'file' }>;
/** A path of the roots that does not travel: the site has it from before. */
export type NeedLine = Extract<InventoryRecord, { type: 'need' }>;

/** The folders that a stream begins with: Nix wants them in a `file://` cache that it cannot write to. */
export const STREAM_FOLDERS = ['nar/', 'log/', 'realisations/', 'build-trace-v2/'] as const;

export function formatInventoryLine(record: InventoryRecord): string {
  return `${JSON.stringify(record)}\n`;
}

/** Reads one line, without its line break. `lineNumber` counts from 1. Throws `damage`, or `newer-format` for an unknown kind of line. */
export function parseInventoryLine(line: Uint8Array, lineNumber: number): InventoryRecord {
  const where = `line ${lineNumber} of the inventory`;
  const json = parseBoundedJson(line, MAX_DEPTH, where);
  const record = RecordSchema.safeParse(json);
  if (record.success) return record.data;
  const type = z.object({ type: z.string().max(40) }).safeParse(json);
  if (type.success && !KNOWN_TYPES.has(type.data.type)) {
    throw new NixferryError('newer-format', `${where} is of an unknown kind, "${type.data.type}"`, {
      hint: 'use the newer Nixferry that wrote it',
    });
  }
  throw new NixferryError('damage', `${where}: ${firstProblem(record.error)}`);
}

/** The line of a path, from the narinfo that travels with it. */
export function pathLine(
  info: NarInfo & { readonly fileHash: string; readonly fileSizeBytes: number },
  compression: Compression,
  roots: readonly number[],
  nar: Place,
  narInfo: Place & { readonly sizeBytes: number; readonly sha256: string },
): PathLine {
  return {
    type: 'path',
    path: baseNameOf(info.storePath),
    narHash: info.narHash,
    narSizeBytes: info.narSizeBytes,
    references: info.references.map(baseNameOf),
    ...(info.deriver === undefined ? {} : { deriver: baseNameOf(info.deriver) }),
    ...(info.system === undefined ? {} : { system: info.system }),
    ...(info.contentAddress === undefined ? {} : { ca: info.contentAddress }),
    signatures: [...info.signatures],
    roots: [...roots],
    nar: {
      name: info.url,
      compression,
      fileHash: info.fileHash,
      sizeBytes: info.fileSizeBytes,
      volume: nar.volume,
      offset: nar.offset,
    },
    narInfo: { sizeBytes: narInfo.sizeBytes, sha256: narInfo.sha256, volume: narInfo.volume, offset: narInfo.offset },
  };
}

/** What the inventory says of a path, as the narinfo of a mirror. Throws `damage` when Nix would allow no such path. */
export function narInfoOf(line: PathLine, storeDir: string): NarInfo {
  try {
    return {
      storePath: storePathFromBaseName(line.path, storeDir),
      url: line.nar.name,
      compression: line.nar.compression,
      fileHash: parseHash(line.nar.fileHash),
      fileSizeBytes: line.nar.sizeBytes,
      narHash: parseHash(line.narHash),
      narSizeBytes: line.narSizeBytes,
      references: line.references.map((name) => storePathFromBaseName(name, storeDir)),
      ...(line.deriver === undefined ? {} : { deriver: storePathFromBaseName(line.deriver, storeDir) }),
      ...(line.system === undefined ? {} : { system: line.system }),
      signatures: line.signatures,
      ...(line.ca === undefined ? {} : { contentAddress: line.ca }),
    };
  } catch (error) {
    if (!(error instanceof NixFormatError)) throw error;
    throw new NixferryError('damage', `the inventory's line of ${line.path}: ${error.message}`, { cause: error });
  }
}

/** The full path of a need. Throws `damage` when Nix would allow no such path. */
export function needPathOf(line: NeedLine, storeDir: string): StorePath {
  try {
    return storePathFromBaseName(line.path, storeDir);
  } catch (error) {
    if (!(error instanceof NixFormatError)) throw error;
    throw new NixferryError('damage', `the inventory's need of ${line.path}: ${error.message}`, { cause: error });
  }
}

export function narMember(line: PathLine): TarMember {
  return { name: line.nar.name, kind: 'file', sizeBytes: line.nar.sizeBytes };
}

export function narInfoMember(line: PathLine): TarMember {
  return { name: narInfoFileName(line), kind: 'file', sizeBytes: line.narInfo.sizeBytes };
}

export function narInfoFileName(line: PathLine): string {
  return `${hashPartOf(line.path as StorePathBaseName)}.narinfo`;
}

export function fileMember(line: FileLine): TarMember {
  return { name: line.name, kind: 'file', sizeBytes: line.sizeBytes };
}

/** The small files that may travel beside paths: what Nix itself looks for in a binary cache, and nothing else. */
export function isShippedFileName(name: string): boolean {
  if (name === 'nix-cache-info') return true;
  if (name.endsWith('.ls')) return isHashPart(name.slice(0, -3));
  return SHIPPED_FILE.test(name) && Buffer.byteLength(name) <= 1000;
}

const MAX_DEPTH = 8;
const KNOWN_TYPES: ReadonlySet<string> = new Set(['inventory', 'folder', 'root', 'need', 'file', 'path']);

// A part never begins with a dot: none climbs, none is private.
const SHIPPED_FILE =
  /^(log\/[0-9A-Za-z+_?=-][0-9A-Za-z+._?=-]{0,250}|realisations\/[0-9A-Za-z][0-9A-Za-z+._?=:!-]{0,250}\.doi|build-trace-v[0-9]{1,3}\/[0-9A-Za-z][0-9A-Za-z+._?=-]{0,250}\/[0-9A-Za-z+_?=-][0-9A-Za-z+._?=-]{0,250}\.doi)$/;

const size = z.int().min(0);
const hexDigest = z.string().regex(/^[0-9a-f]{64}$/);
const nixHash = z.string().regex(/^sha256:[0-9abcdfghijklmnpqrsvwxyz]{52}$/);
const baseName = z.string().regex(/^[0-9abcdfghijklmnpqrsvwxyz]{32}-[0-9A-Za-z+._?=-]{1,211}$/);
const outputName = z.string().regex(/^[0-9A-Za-z+._?=-]{1,211}$/);
const oneLine = z.string().regex(/^[^\p{Cc}]*$/u);
const sequence = z.number().refine(isSequence, 'not a sequence number');
const place = { volume: z.int().min(1).max(LIMITS.shipmentVolumes), offset: size };

const RecordSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('inventory'), format: z.int().min(1) }),
  z.object({ type: z.literal('folder'), name: z.enum(STREAM_FOLDERS) }),
  z.object({
    type: z.literal('root'),
    name: oneLine.max(1000),
    request: z.string().max(4000),
    scope: z.enum(['run', 'reconfigure', 'rebuild']),
    complete: z.boolean(),
    rootPaths: z.array(baseName),
    pathCount: size,
    narSizeBytes: size,
    digest: hexDigest,
    asOf: sequence.exactOptional(),
    targets: z
      .array(
        z.object({ variant: oneLine.max(1000).exactOptional(), derivation: baseName, outputs: z.array(outputName) }),
      )
      .max(LIMITS.rootTargets)
      .exactOptional(),
    evaluationInputs: z
      .array(
        z.object({
          kind: z.enum(EVALUATION_INPUT_KINDS),
          name: oneLine.max(1000),
          path: baseName,
          locked: flakeReference.exactOptional(),
          original: flakeReference.exactOptional(),
        }),
      )
      .exactOptional(),
    channel: z
      .object({ name: z.string().regex(CHANNEL_NAME), release: z.string().regex(CHANNEL_NAME), path: baseName })
      .exactOptional(),
    repositories: z
      .array(rootRepository.extend({ path: baseName }))
      .max(LIMITS.repositoriesPerRoot)
      .exactOptional(),
  }),
  z.object({
    type: z.literal('need'),
    path: baseName,
    narHash: nixHash,
    narSizeBytes: z.int().min(1),
    roots: z.array(size).min(1).max(LIMITS.shipmentRoots),
    sequence: sequence.exactOptional(),
  }),
  z.object({
    type: z.literal('file'),
    name: z.string().refine(isShippedFileName, 'no such file belongs in a shipment'),
    sizeBytes: size.max(LIMITS.shippedFileBytes),
    sha256: hexDigest,
    ...place,
  }),
  z.object({
    type: z.literal('path'),
    path: baseName,
    narHash: nixHash,
    narSizeBytes: z.int().min(1),
    references: z.array(baseName),
    deriver: baseName.optional(),
    system: oneLine.max(200).optional(),
    ca: oneLine.max(1000).optional(),
    signatures: z
      .array(
        z
          .string()
          .max(1000)
          .regex(/^[^\s:\p{Cc}]+:[0-9A-Za-z+/]{86}==$/u),
      )
      .max(LIMITS.shippedSignatures),
    roots: z.array(size).min(1).max(LIMITS.shipmentRoots),
    nar: z.object({
      name: z.string().regex(/^nar\/[0-9abcdfghijklmnpqrsvwxyz]{52}\.nar(\.[a-z0-9]{1,5})?$/),
      compression: z.enum(['none', 'xz', 'zstd', 'bzip2', 'gzip', 'br']),
      fileHash: nixHash,
      sizeBytes: z.int().min(1),
      ...place,
    }),
    narInfo: z.object({ sizeBytes: z.int().min(1).max(LIMITS.narInfoBytes), sha256: hexDigest, ...place }),
  }),
]);
