import { dirname, join } from 'node:path';
import canonicalize from 'canonicalize';
import { z } from 'zod';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { parseBoundedJson } from './bounded-json.ts';
import { FORMAT, INSTALLER_FILE, isSequence, isSiteName, TOOLS_FOLDER, VOLUME_BYTES_MAX } from './format.ts';
import { TOOL_NAME, TOOLS_LAUNCHER } from './tools.ts';

/** What is signed of a shipment; every other file is bound to it by a hash. Fields and units: docs/format.md. */
export type Manifest = z.infer<typeof ManifestSchema>;
export type ManifestRoot = Manifest['roots'][number];
export type ManifestVolume = Manifest['volumes'][number];
export type ManifestBasis = Manifest['basis'];
export type ManifestRehearsal = z.infer<typeof RehearsalSchema>;

/** The manifest as it is written and signed: canonical JSON (RFC 8785) and nothing behind it. */
export function formatManifest(manifest: Manifest): Buffer {
  const bytes = Buffer.from(canonicalize(manifest) ?? '');
  if (bytes.length <= LIMITS.manifestBytes) return bytes;
  throw new NixferryError('usage', `the manifest would be ${bytes.length} bytes; ${LIMITS.manifestBytes} is the most`, {
    hint: 'pack fewer roots at a time, or choose a larger --volume-size',
  });
}

/**
 * Reads a manifest from the bytes that the signature covers. Fields that this reader does not know are passed over: a sender whose
 * shipments need a newer reader says so in `minReader`. `where` is the file's name for messages.
 * Throws `newer-format` or `damage`.
 */
export function parseManifest(bytes: Uint8Array, where: string): Manifest {
  const json = parseBoundedJson(bytes, MAX_DEPTH, where);
  const version = VersionSchema.safeParse(json);
  if (!version.success) throw new NixferryError('damage', `${where} is not a manifest: ${firstProblem(version.error)}`);
  const { format, minReader, tools } = version.data;
  if (minReader > FORMAT) {
    throw new NixferryError(
      'newer-format',
      `${where}: shipment format ${format} needs a newer Nixferry (this one reads ${FORMAT})`,
      {
        hint:
          tools.length > 0
            ? `the shipment brings one along: sh ${join(dirname(where), TOOLS_FOLDER, TOOLS_LAUNCHER)} import ${dirname(where)}`
            : `bring a Nixferry that reads shipment format ${minReader}, then type the same command again`,
      },
    );
  }
  const manifest = ManifestSchema.safeParse(json);
  if (!manifest.success)
    throw new NixferryError('damage', `${where} is not a manifest: ${firstProblem(manifest.error)}`);
  return manifest.data;
}

/** The first complaint of zod in a line: where, and what was expected. */
export function firstProblem(error: z.ZodError): string {
  const issue = error.issues[0];
  return issue === undefined ? 'unknown' : `${issue.path.join('.') || 'the whole'}: ${issue.message}`;
}

const MAX_DEPTH = 8;

const count = z.int().min(0);
const sequence = z.number().refine(isSequence, 'not a sequence number');
const hexDigest = z.string().regex(/^[0-9a-f]{64}$/);
const storeDir = z
  .string()
  .max(256)
  .regex(/^(\/[A-Za-z0-9+._?=-]+)+$/);
const keyName = z
  .string()
  .max(200)
  .regex(/^[^\s:\p{Cc}]+$/u);

/** What every format has in common. */
const VersionSchema = z.object({
  format: z.int().min(1),
  minReader: z.int().min(1),
  tools: z.array(z.unknown()).default([]),
});

const RootSchema = z.object({
  name: z.string().max(1000),
  request: z.string().max(4000),
  scope: z.enum(['run', 'reconfigure', 'rebuild']),
  complete: z.boolean(),
  pathCount: count,
  narSizeBytes: count,
  digest: hexDigest,
  /** The sequence whose state of the root this is, where it is an earlier one than that of the shipment. */
  asOf: sequence.exactOptional(),
});

/** What the sender takes to be at the site: what a receipt says, or, by his own word, all shipments up to a sequence. */
const BasisSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('receipt'), counter: z.int().min(1), digest: hexDigest }),
  z.object({ type: z.literal('sequence'), sequence }),
]);

const VolumeSchema = z.object({
  name: z.string().regex(/^[0-9]{4,9}-[0-9]{3,6}\.tar$/),
  sizeBytes: z.int().min(1).max(VOLUME_BYTES_MAX),
  sha256: hexDigest,
  /** The disc that it was laid on, from 1 on; absent where the shipment is one folder. */
  disc: z.int().min(1).max(LIMITS.shipmentVolumes).exactOptional(),
});

const ToolSchema = z.object({
  name: z.string().regex(TOOL_NAME),
  sizeBytes: count,
  sha256: hexDigest,
});

/** The log of a rehearsal, beside the manifest. */
const RehearsalSchema = z.object({
  name: z.string().regex(/^rehearsal-[0-9]{1,3}\.txt$/),
  sizeBytes: z.int().min(1).max(LIMITS.rehearsalLogBytes),
  sha256: hexDigest,
  /** `complete`, or what it was not. */
  verdict: z.string().max(40),
  /** Which Nix it was. */
  nix: z.string().max(200),
  /** Positions in `roots`: what was tried. */
  roots: z.array(count).max(LIMITS.shipmentRoots),
});

const ManifestSchema = z.object({
  format: z.int().min(1),
  minReader: z.int().min(1),
  site: z.string().refine(isSiteName, 'not the name of a site'),
  sender: keyName,
  senderKey: z.string().max(300),
  sequence,
  previous: hexDigest.nullable(),
  basis: BasisSchema.nullable(),
  /** The shipments whose share is sent again, and nothing else; none as a rule. */
  lost: z.array(sequence).max(LIMITS.shipmentsLost).default([]),
  /** The highest counter of a receipt of the site that the sender has seen; 0 where he saw none. */
  receiptCounter: count.default(0),
  storeDir,
  created: z.iso.datetime(),
  generator: z.string().max(200),
  roots: z.array(RootSchema).max(LIMITS.shipmentRoots),
  totals: z.object({
    pathCount: count,
    /** Paths that the roots have beyond those: they do not travel. */
    needCount: count.default(0),
    narCount: count,
    narSizeBytes: count,
    narFileSizeBytes: count,
    volumesSizeBytes: count,
  }),
  inventory: z.object({
    name: z.literal('inventory.jsonl.zst'),
    sizeBytes: z.int().min(1).max(LIMITS.inventoryBytes),
    sha256: hexDigest,
    textSizeBytes: z.int().min(1).max(LIMITS.inventoryBytes),
    lineCount: z.int().min(1),
  }),
  volumes: z.array(VolumeSchema).min(1).max(LIMITS.shipmentVolumes),
  /** The files in tools/; none where the sender left them out, or was older than they are. */
  tools: z.array(ToolSchema).max(LIMITS.shipmentToolFiles).default([]),
  /** Roots that were rebuilt without a network before they were packed. */
  rehearsals: z.array(RehearsalSchema).max(LIMITS.rehearsalsShipped).exactOptional(),
  /** The script that installs Nix from the medium; only where a root is a Nix. */
  installer: z.object({ name: z.literal(INSTALLER_FILE), sizeBytes: count, sha256: hexDigest }).exactOptional(),
});
