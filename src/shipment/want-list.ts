import canonicalize from 'canonicalize';
import { z } from 'zod';
import { compressZstd } from '../base/compression/compress-zstd.ts';
import { decompressBytes } from '../base/compression/decompress-bytes.ts';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { MISS_KINDS } from '../mirror/misses.ts';
import {
  formatPublicKey,
  NixFormatError,
  type PublicKey,
  parsePublicKey,
  publicKeyOf,
  type SecretKey,
  type StorePathBaseName,
  signText,
  verifySignature,
} from '../nix/index.ts';
import { parseBoundedJson } from './bounded-json.ts';
import { FORMAT, isSiteName } from './format.ts';
import { firstProblem } from './manifest.ts';

/** What a site's clients asked for and did not get. Fields: docs/format.md. */
export type WantHeader = z.infer<typeof HeaderSchema>;

export interface WantedDerivation {
  readonly path: StorePathBaseName;
  readonly bytes: Buffer;
}

/** A want list as it was read. `hasSigned` says that the owner of `key` signed it, not that this is the site's key. */
export interface WantList {
  readonly header: WantHeader;
  readonly key: PublicKey;
  readonly hasSigned: boolean;
  /** The `.drv` files of what could not be built, and of all that these are built from. */
  readonly derivations: readonly WantedDerivation[];
  /** For messages. */
  readonly where: string;
}

export type WantContents = Pick<WantHeader, 'site' | 'storeDir' | 'misses' | 'targets'> & {
  readonly derivations: readonly WantedDerivation[];
};

/** Makes and signs a want list: purpose, signature and header, a line each, then the derivations, compressed with zstd. */
export async function formatWantList(contents: WantContents, secret: SecretKey): Promise<Buffer> {
  const { site, storeDir, misses, targets, derivations } = contents;
  const lines = derivations.map(({ path, bytes }) => `${JSON.stringify({ path, base64: bytes.toString('base64') })}\n`);
  const text = Buffer.from(lines.join(''));
  const packed = Buffer.concat(await Array.fromAsync(compressZstd(oneChunk(text), { level: ZSTD_LEVEL })));
  const header: WantHeader = {
    format: FORMAT,
    minReader: FORMAT,
    site,
    siteKey: formatPublicKey(publicKeyOf(secret)),
    storeDir,
    misses,
    targets,
    derivations: { count: derivations.length, textSizeBytes: text.length },
  };
  const body = Buffer.concat([Buffer.from(`${canonicalize(header)}\n`), packed]);
  const signature = signText(secret, Buffer.concat([PURPOSE, body]));
  return Buffer.concat([PURPOSE, Buffer.from(`${signature}\n`), body]);
}

/** Whether bytes begin as a want list does. */
export function isWantList(start: Buffer): boolean {
  return start.subarray(0, PURPOSE.length).equals(PURPOSE);
}

/** Throws `damage` for what is none, and `newer-format`. */
export async function parseWantList(bytes: Buffer, where: string): Promise<WantList> {
  if (!isWantList(bytes)) throw noWantList(where, 'it does not begin as one');
  const signatureEnd = bytes.indexOf(LINE_FEED, PURPOSE.length);
  const headerEnd = signatureEnd === -1 ? -1 : bytes.indexOf(LINE_FEED, signatureEnd + 1);
  if (headerEnd === -1 || signatureEnd - PURPOSE.length > SIGNATURE_BYTES) throw noWantList(where, 'it is cut off');
  const header = parseHeader(bytes.subarray(signatureEnd + 1, headerEnd), where);
  const key = parseKey(header.siteKey, where);
  const signed = Buffer.concat([PURPOSE, bytes.subarray(signatureEnd + 1)]);
  const hasSigned = verifySignature(bytes.toString('latin1', PURPOSE.length, signatureEnd), signed, [key]);
  // Nothing is unpacked for somebody who has not signed it.
  const derivations = hasSigned ? await parseDerivations(bytes.subarray(headerEnd + 1), header, where) : [];
  return { header, key, hasSigned, derivations, where };
}

const PURPOSE = Buffer.from('nixferry-want-v1\n');
const LINE_FEED = 0x0a;
const SIGNATURE_BYTES = 1000;
const HEADER_DEPTH = 4;
const ZSTD_LEVEL = 9;

const baseName = z.custom<StorePathBaseName>(
  (value) => typeof value === 'string' && /^[0-9abcdfghijklmnpqrsvwxyz]{32}-[0-9A-Za-z+._?=-]{1,211}$/.test(value),
);
const derivationLine = z.object({ path: baseName, base64: z.base64() });

const HeaderSchema = z.object({
  format: z.int().min(1),
  minReader: z.int().min(1),
  site: z.string().refine(isSiteName, 'not the name of a site'),
  siteKey: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._+@=-]{0,119}:[A-Za-z0-9+/]{43}=$/),
  storeDir: z.string().max(256),
  /** The most wanted first. */
  misses: z
    .array(
      z.object({
        kind: z.enum(MISS_KINDS),
        name: z.string().regex(/^[A-Za-z0-9_@.:/+=-]{1,250}$/),
        count: z.int().min(1),
      }),
    )
    .max(LIMITS.missesKept),
  /** What could not be built. */
  targets: z.array(baseName).max(LIMITS.rootTargets),
  derivations: z.object({
    count: z.int().min(0).max(LIMITS.wantDerivations),
    textSizeBytes: z.int().min(0).max(LIMITS.wantDerivationsBytes),
  }),
});

const VersionSchema = z.object({ format: z.int().min(1), minReader: z.int().min(1) });

function parseHeader(bytes: Buffer, where: string): WantHeader {
  if (bytes.length > LIMITS.receiptHeaderBytes) throw noWantList(where, 'its header is too long');
  const json = parseBoundedJson(bytes, HEADER_DEPTH, `the header of ${where}`);
  const version = VersionSchema.safeParse(json);
  if (version.success && version.data.minReader > FORMAT) {
    throw new NixferryError(
      'newer-format',
      `${where}: want list format ${version.data.format} needs a newer Nixferry`,
      {
        hint: `use a Nixferry that reads want lists of format ${version.data.minReader}`,
      },
    );
  }
  const header = HeaderSchema.safeParse(json);
  if (header.success) return header.data;
  throw noWantList(where, firstProblem(header.error));
}

async function parseDerivations(packed: Buffer, header: WantHeader, where: string): Promise<WantedDerivation[]> {
  const { count, textSizeBytes } = header.derivations;
  const text = await decompressBytes('zstd', packed, { maxBytes: textSizeBytes });
  const lines = text.toString('utf8').split('\n');
  if (lines.pop() !== '' || lines.length !== count) throw noWantList(where, `it does not hold ${count} derivations`);
  return lines.map((line) => {
    const parsed = derivationLine.safeParse(parseBoundedJson(Buffer.from(line), 2, where));
    if (!parsed.success) throw noWantList(where, firstProblem(parsed.error));
    return { path: parsed.data.path, bytes: Buffer.from(parsed.data.base64, 'base64') };
  });
}

function parseKey(text: string, where: string): PublicKey {
  try {
    return parsePublicKey(text);
  } catch (error) {
    if (error instanceof NixFormatError) throw noWantList(where, `its siteKey is no key: ${error.message}`);
    throw error;
  }
}

function noWantList(where: string, why: string): NixferryError {
  return new NixferryError('damage', `${where} is not a whole want list: ${why}`, {
    hint: 'fetch it from the site again; there: nixferry want --to FILE',
  });
}

async function* oneChunk(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}
