import { z } from 'zod';
import { compressZstd } from '../base/compression/compress-zstd.ts';
import { decompressBytes } from '../base/compression/decompress-bytes.ts';
import { LIMITS } from '../base/limits.ts';
import type { Miss } from '../mirror/misses.ts';
import type { PublicKey, SecretKey, StorePathBaseName } from '../nix/index.ts';
import { parseBoundedJson } from './bounded-json.ts';
import { firstProblem } from './manifest.ts';
import {
  brokenStatement,
  formatStatement,
  isStatement,
  parseStatement,
  STATEMENT_FIELDS,
  type StatementKind,
} from './site-statement.ts';

/** What a site's clients asked for and did not get. Fields: docs/format.md. */
export type WantHeader = Omit<z.infer<typeof HeaderSchema>, 'misses' | 'repositories'> & {
  /** The most wanted first. */
  readonly misses: readonly Miss[];
};

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
  const repositories = misses.flatMap(({ kind, name, count }) => (kind === 'repository' ? [{ name, count }] : []));
  const fields: Omit<z.infer<typeof HeaderSchema>, 'format' | 'minReader' | 'siteKey'> = {
    site,
    storeDir,
    misses: misses.flatMap(({ kind, ...miss }) => (kind === 'repository' ? [] : [{ kind, ...miss }])),
    ...(repositories.length === 0 ? {} : { repositories }),
    targets,
    derivations: { count: derivations.length, textSizeBytes: text.length },
  };
  return formatStatement(WANT_LIST, fields, packed, secret);
}

/** Whether bytes begin as a want list does. */
export function isWantList(start: Buffer): boolean {
  return isStatement(WANT_LIST, start);
}

/** Throws `damage` for what is none, and `newer-format`. */
export async function parseWantList(bytes: Buffer, where: string): Promise<WantList> {
  const { rest, header: stated, ...statement } = parseStatement(WANT_LIST, HeaderSchema, bytes, where);
  const { repositories = [], ...fields } = stated;
  const misses: Miss[] = [...fields.misses];
  for (const { name, count } of repositories) misses.push({ kind: 'repository', name, count });
  const header = { ...fields, misses: misses.toSorted((a, b) => b.count - a.count) };
  // Nothing is unpacked for somebody who has not signed it.
  const derivations = statement.hasSigned ? await parseDerivations(rest, header, where) : [];
  return { ...statement, header, derivations, where };
}

const WANT_LIST: StatementKind = {
  noun: 'want list',
  purpose: Buffer.from('nixferry-want-v1\n'),
  hint: 'fetch it from the site again; there: nixferry want --to FILE',
};
const ZSTD_LEVEL = 9;

const baseName = z.custom<StorePathBaseName>(
  (value) => typeof value === 'string' && /^[0-9abcdfghijklmnpqrsvwxyz]{32}-[0-9A-Za-z+._?=-]{1,211}$/.test(value),
);
const derivationLine = z.object({ path: baseName, base64: z.base64() });

const MISS_NAME = z.string().regex(/^[A-Za-z0-9_@.:/+=-]{1,250}$/);
const HeaderSchema = z.object({
  ...STATEMENT_FIELDS,
  /** The most wanted first. */
  misses: z
    .array(
      z.object({
        kind: z.enum(['narinfo', 'source', 'flake', 'channel']),
        name: MISS_NAME,
        count: z.int().min(1),
      }),
    )
    .max(LIMITS.missesKept),
  /** Those that older readers know nothing of. */
  repositories: z
    .array(z.object({ name: MISS_NAME, count: z.int().min(1) }))
    .max(LIMITS.missesKept)
    .exactOptional(),
  /** What could not be built. */
  targets: z.array(baseName).max(LIMITS.rootTargets),
  derivations: z.object({
    count: z.int().min(0).max(LIMITS.wantDerivations),
    textSizeBytes: z.int().min(0).max(LIMITS.wantDerivationsBytes),
  }),
});

async function parseDerivations(packed: Buffer, header: WantHeader, where: string): Promise<WantedDerivation[]> {
  const { count, textSizeBytes } = header.derivations;
  const text = await decompressBytes('zstd', packed, { maxBytes: textSizeBytes });
  const lines = text.toString('utf8').split('\n');
  if (lines.pop() !== '' || lines.length !== count)
    throw brokenStatement(WANT_LIST, where, `it does not hold ${count} derivations`);
  return lines.map((line) => {
    const parsed = derivationLine.safeParse(parseBoundedJson(Buffer.from(line), 2, where));
    if (!parsed.success) throw brokenStatement(WANT_LIST, where, firstProblem(parsed.error));
    return { path: parsed.data.path, bytes: Buffer.from(parsed.data.base64, 'base64') };
  });
}

async function* oneChunk(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}
