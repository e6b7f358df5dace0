import { createHash } from 'node:crypto';
import { z } from 'zod';
import { compressZstd } from '../base/compression/compress-zstd.ts';
import { decompressStream } from '../base/compression/decompress-stream.ts';
import type { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { PublicKey, SecretKey } from '../nix/index.ts';
import { isSequence } from './format.ts';
import {
  brokenStatement,
  formatStatement,
  isStatement,
  parseStatement,
  STATEMENT_FIELDS,
  type StatementKind,
} from './site-statement.ts';

/** What a site says of itself in a receipt, without the list of its paths. Fields and units: docs/format.md. */
export type ReceiptHeader = z.infer<typeof HeaderSchema>;
export type ReceivedShipment = ReceiptHeader['shipments'][number];

/** A receipt as it was read. Whether `key` is that of the site is for the reader to know: `hasSigned` says only that its owner signed. */
export interface Receipt {
  readonly header: ReceiptHeader;
  readonly key: PublicKey;
  readonly hasSigned: boolean;
  /** Sha256 of the whole file, in hex. */
  readonly digest: string;
  readonly bytes: Buffer;
  /** The compressed list of paths. */
  readonly list: Buffer;
  /** The file's name, for messages. */
  readonly where: string;
}

/** What a receipt is made of; the rest of the header follows from it. */
export type ReceiptContents = Pick<ReceiptHeader, 'site' | 'counter' | 'storeDir' | 'shipments'> & {
  /** Base names of everything that the site holds, sorted, each once. */
  readonly paths: readonly string[];
};

/** Makes and signs a receipt: three lines (purpose, signature, header), then the zstd-compressed list of paths. */
export async function formatReceipt(contents: ReceiptContents, secret: SecretKey): Promise<Buffer> {
  const { site, counter, storeDir, shipments, paths } = contents;
  const text = createHash('sha256');
  let textSizeBytes = 0;
  async function* lines(): AsyncGenerator<Buffer> {
    for (let start = 0; start < paths.length; start += NAMES_PER_CHUNK) {
      const names = paths.slice(start, start + NAMES_PER_CHUNK);
      const chunk = Buffer.from(names.map((name) => `${name}\n`).join(''));
      text.update(chunk);
      textSizeBytes += chunk.length;
      yield chunk;
    }
  }
  const list = Buffer.concat(await Array.fromAsync(compressZstd(lines(), { level: ZSTD_LEVEL })));
  const fields: Omit<ReceiptHeader, 'format' | 'minReader' | 'siteKey'> = {
    site,
    counter,
    storeDir,
    shipments,
    paths: { count: paths.length, textSizeBytes, sha256: text.digest('hex') },
  };
  return formatStatement(RECEIPT, fields, list, secret);
}

/** Whether bytes begin as a receipt does. */
export function isReceipt(start: Buffer): boolean {
  return isStatement(RECEIPT, start);
}

/** Reads a receipt, its list of paths aside: that is for `receiptPaths`. Throws `damage` or `newer-format`. */
export function parseReceipt(bytes: Buffer, where: string): Receipt {
  const { rest, ...statement } = parseStatement(RECEIPT, HeaderSchema, bytes, where);
  return { ...statement, digest: createHash('sha256').update(bytes).digest('hex'), bytes, list: rest, where };
}

/** The base names of all paths that the site holds, sorted. Throws `damage` when the list is not what the header says. */
export async function* receiptPaths(receipt: Receipt, signal?: AbortSignal): AsyncGenerator<string, void, undefined> {
  const { count, textSizeBytes } = receipt.header.paths;
  const broken = (why: string): NixferryError => brokenStatement(RECEIPT, receipt.where, `its list of paths ${why}`);
  const source = decompressStream('zstd', oneChunk(receipt.list), { maxBytes: textSizeBytes, signal });
  let rest = '';
  let found = 0;
  let last = '';
  for await (const chunk of source) {
    const lines = `${rest}${chunk.toString('latin1')}`.split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > LONGEST_NAME) throw broken('has a line that is too long');
    for (const name of lines) {
      if (!BASE_NAME.test(name)) throw broken('holds something else');
      if (name <= last) throw broken('is not in order');
      last = name;
      found++;
      yield name;
    }
  }
  if (rest !== '' || found !== count) throw broken(`has ${found} lines, not ${count}`);
}

/** Reads the list of paths to its end. Throws `damage` when it is not what the header says. */
export async function checkReceiptPaths(receipt: Receipt, signal?: AbortSignal): Promise<void> {
  const paths = receiptPaths(receipt, signal);
  while ((await paths.next()).done !== true);
}

const RECEIPT: StatementKind = {
  noun: 'receipt',
  purpose: Buffer.from('nixferry-receipt-v1\n'),
  hint: 'fetch it from the site again; there: nixferry receipt --to DIR',
};
const ZSTD_LEVEL = 9;
const NAMES_PER_CHUNK = 4096;
const LONGEST_NAME = 32 + 1 + 211;
const BASE_NAME = /^[0-9abcdfghijklmnpqrsvwxyz]{32}-[0-9A-Za-z+._?=-]{1,211}$/;

const hexDigest = z.string().regex(/^[0-9a-f]{64}$/);

const HeaderSchema = z.object({
  ...STATEMENT_FIELDS,
  /** Each receipt of a site has a higher one than those before. */
  counter: z.int().min(1),
  /** By sender and sequence. */
  shipments: z
    .array(
      z.object({
        sender: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._+@=-]{0,119}$/),
        sequence: z.number().refine(isSequence, 'not a sequence number'),
        manifestSha256: hexDigest,
        /** Whether the site has every path of its roots. */
        complete: z.boolean(),
      }),
    )
    .max(LIMITS.receiptShipments),
  paths: z.object({
    count: z.int().min(0),
    textSizeBytes: z.int().min(0).max(LIMITS.receiptTextBytes),
    /** Of the list as text. */
    sha256: hexDigest,
  }),
});

async function* oneChunk(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}
