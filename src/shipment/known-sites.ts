import { hash } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { NixferryError } from '../base/errors.ts';
import { namesIn, readFileIfExists, writeFileAtomic } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { parseBoundedJson } from './bounded-json.ts';
import { isSiteName } from './format.ts';
import { firstProblem } from './manifest.ts';
import { parseReceipt, type Receipt } from './receipt.ts';

/**
 * What a sender remembers of a site that sent a receipt: `.nixferry/sites/<site>/site.json`, with the last receipt that was acknowledged
 * beside it.
 */
export type KnownSite = z.infer<typeof KnownSiteSchema>;

/** Undefined for a site of which no receipt was acknowledged yet. Throws `damage` for a record that cannot be read. */
export async function readKnownSite(mirror: Mirror, site: string): Promise<KnownSite | undefined> {
  const file = join(siteFolder(mirror, site), 'site.json');
  const bytes = await readFileIfExists(file, LIMITS.manifestBytes);
  if (bytes === undefined) return undefined;
  const record = KnownSiteSchema.safeParse(parseBoundedJson(bytes, 4, file));
  if (record.success && record.data.name === site) return record.data;
  throw new NixferryError('damage', `${file} is not a record of a site: ${firstProblem(record.error ?? OTHER_SITE)}`, {
    hint: `remove ${file} and acknowledge the site's last receipt again: nixferry ack RECEIPT --trust KEY`,
  });
}

/** The names of all sites of which something is known here: those that sent a receipt and those that something was sent to; sorted. */
export async function knownSiteNames(mirror: Mirror): Promise<readonly string[]> {
  const names = new Set<string>();
  for (const folder of ['sites', 'sent']) {
    for (const name of await namesIn(join(mirror.layout.folder, folder))) if (isSiteName(name)) names.add(name);
  }
  return [...names].sort();
}

/** The last receipt of a site that was acknowledged; undefined when there is none. */
export async function readAcknowledged(mirror: Mirror, site: string): Promise<Receipt | undefined> {
  const last = (await readKnownSite(mirror, site))?.receipts.at(-1);
  if (last === undefined) return undefined;
  const file = receiptFile(mirror, site, last.digest);
  const bytes = await readFileIfExists(file, LIMITS.receiptBytes);
  if (bytes !== undefined && hash('sha256', bytes) === last.digest) return parseReceipt(bytes, file);
  throw new NixferryError('damage', `${file} is not the receipt ${last.counter} of ${site} that was acknowledged`, {
    hint: `acknowledge the site's last receipt again: nixferry ack RECEIPT; or pack everything: nixferry pack --site ${site} --full`,
  });
}

/** Remembers a receipt, durably, as the last one of its site. Whether it may be that is for the caller to know. */
export async function keepAcknowledged(mirror: Mirror, record: KnownSite, receipt: Receipt): Promise<void> {
  const folder = siteFolder(mirror, record.name);
  await mkdir(folder, { recursive: true });
  const receipts = record.receipts.slice(-LIMITS.receiptsRemembered);
  const file = receiptFile(mirror, record.name, receipt.digest);
  await writeFileAtomic(file, receipt.bytes);
  // The record decides which receipt counts, so that is the same moment for both.
  await writeFileAtomic(join(folder, 'site.json'), `${JSON.stringify({ ...record, receipts })}\n`);
  for (const name of await namesIn(folder)) {
    if (name !== basename(file) && name.endsWith(RECEIPT_SUFFIX)) await rm(join(folder, name));
  }
}

const RECEIPT_SUFFIX = '.receipt';

const hexDigest = z.string().regex(/^[0-9a-f]{64}$/);

const KnownSiteSchema = z.object({
  format: z.literal(1),
  name: z.string().refine(isSiteName),
  /** The public key of the site, `name:base64`. */
  key: z.string(),
  /** The highest counter of a receipt by any key of the site. */
  highestCounter: z.int().min(0),
  /** Those that were acknowledged, the last one last. */
  receipts: z.array(z.object({ counter: z.int(), digest: hexDigest })),
});

const OTHER_SITE = new z.ZodError([{ code: 'custom', path: ['name'], message: 'the name of another site', input: '' }]);

function siteFolder(mirror: Mirror, site: string): string {
  return join(mirror.layout.folder, 'sites', site);
}

function receiptFile(mirror: Mirror, site: string, digest: string): string {
  return join(siteFolder(mirror, site), `${digest}${RECEIPT_SUFFIX}`);
}
