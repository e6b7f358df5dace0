import canonicalize from 'canonicalize';
import { z } from 'zod';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import {
  formatPublicKey,
  NixFormatError,
  type PublicKey,
  parsePublicKey,
  publicKeyOf,
  type SecretKey,
  signText,
  verifySignature,
} from '../nix/index.ts';
import { parseBoundedJson } from './bounded-json.ts';
import { FORMAT, isSiteName } from './format.ts';
import { firstProblem } from './manifest.ts';

// What receipts and want lists have in common: a site says something, signed. Three lines (purpose, signature, header as JSON),
// then a part that is compressed. docs/format.md.

/** One kind of such files. */
export interface StatementKind {
  /** `receipt`, for messages. */
  readonly noun: string;
  /** The first line, in front of what is signed, so that a signature made for another purpose is worth nothing here. */
  readonly purpose: Buffer;
  /** What to do when one is damaged. */
  readonly hint: string;
}

/** The fields that every header has. */
export const STATEMENT_FIELDS = {
  format: z.int().min(1),
  minReader: z.int().min(1),
  site: z.string().refine(isSiteName, 'not the name of a site'),
  siteKey: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._+@=-]{0,119}:[A-Za-z0-9+/]{43}=$/),
  storeDir: z.string().max(256),
};

/** A statement as it was read. `hasSigned` says that the owner of `key` signed it, not that this is the site's key. */
export interface Statement<Header> {
  readonly header: Header;
  readonly key: PublicKey;
  readonly hasSigned: boolean;
  /** What follows the header. */
  readonly rest: Buffer;
}

/** Signs a statement. `fields` are those of its kind, with site and store folder. */
export function formatStatement(kind: StatementKind, fields: object, rest: Buffer, secret: SecretKey): Buffer {
  const common = { format: FORMAT, minReader: FORMAT, siteKey: formatPublicKey(publicKeyOf(secret)) };
  const body = Buffer.concat([Buffer.from(`${canonicalize({ ...common, ...fields })}\n`), rest]);
  const signature = signText(secret, Buffer.concat([kind.purpose, body]));
  return Buffer.concat([kind.purpose, Buffer.from(`${signature}\n`), body]);
}

/** Whether bytes begin as one of this kind does. */
export function isStatement(kind: StatementKind, start: Buffer): boolean {
  return start.subarray(0, kind.purpose.length).equals(kind.purpose);
}

/** Reads all but what follows the header. Throws `damage` for what is none, and `newer-format`. */
export function parseStatement<Header extends { readonly siteKey: string }>(
  kind: StatementKind,
  schema: z.ZodType<Header>,
  bytes: Buffer,
  where: string,
): Statement<Header> {
  const { purpose } = kind;
  if (!isStatement(kind, bytes)) throw brokenStatement(kind, where, 'it does not begin as one');
  const signatureEnd = bytes.indexOf(LINE_FEED, purpose.length);
  const headerEnd = signatureEnd === -1 ? -1 : bytes.indexOf(LINE_FEED, signatureEnd + 1);
  if (headerEnd === -1 || signatureEnd - purpose.length > SIGNATURE_BYTES) {
    throw brokenStatement(kind, where, 'it is cut off');
  }
  const header = parseHeader(kind, schema, bytes.subarray(signatureEnd + 1, headerEnd), where);
  const key = parseKey(kind, header.siteKey, where);
  const signed = Buffer.concat([purpose, bytes.subarray(signatureEnd + 1)]);
  const hasSigned = verifySignature(bytes.toString('latin1', purpose.length, signatureEnd), signed, [key]);
  return { header, key, hasSigned, rest: bytes.subarray(headerEnd + 1) };
}

export function brokenStatement({ noun, hint }: StatementKind, where: string, why: string): NixferryError {
  return new NixferryError('damage', `${where} is not a whole ${noun}: ${why}`, { hint });
}

const LINE_FEED = 0x0a;
const SIGNATURE_BYTES = 1000;
const HEADER_DEPTH = 4;

/** What every format has in common, older and newer ones. */
const VersionSchema = z.object({ format: z.int().min(1), minReader: z.int().min(1) });

function parseHeader<Header>(kind: StatementKind, schema: z.ZodType<Header>, bytes: Buffer, where: string): Header {
  if (bytes.length > LIMITS.receiptHeaderBytes) throw brokenStatement(kind, where, 'its header is too long');
  const json = parseBoundedJson(bytes, HEADER_DEPTH, `the header of ${where}`);
  const version = VersionSchema.safeParse(json);
  if (version.success && version.data.minReader > FORMAT) {
    const message = `${where}: ${kind.noun} format ${version.data.format} needs a newer Nixferry`;
    throw new NixferryError('newer-format', message, {
      hint: `use a Nixferry that reads ${kind.noun}s of format ${version.data.minReader}`,
    });
  }
  const header = schema.safeParse(json);
  if (header.success) return header.data;
  throw brokenStatement(kind, where, firstProblem(header.error));
}

function parseKey(kind: StatementKind, text: string, where: string): PublicKey {
  try {
    return parsePublicKey(text);
  } catch (error) {
    if (error instanceof NixFormatError) throw brokenStatement(kind, where, `its siteKey is no key: ${error.message}`);
    throw error;
  }
}
