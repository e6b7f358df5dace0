import { NixferryError } from '../base/errors.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { formatPublicKey, type PublicKey } from '../nix/index.ts';
import { type KnownSite, keepAcknowledged, readAcknowledged, readKnownSite } from './known-sites.ts';
import { authenticateReceipt, checkReceiptSite, readReceipt } from './read-receipt.ts';
import { checkReceiptPaths, type Receipt } from './receipt.ts';

export interface AcknowledgeOptions {
  /** That of the sender, open for writing. */
  readonly mirror: Mirror;
  /** The receipt, or a folder that holds one. */
  readonly receipt: string;
  /** The site that it must be of; any by default. */
  readonly site?: string | undefined;
  /** Keys of sites that the user vouches for now; that of this receipt, if among them, is the site's from then on. */
  readonly trust?: readonly PublicKey[] | undefined;
  /** Take a receipt that is older than the last one: the site was restored from a backup. */
  readonly restored?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface AcknowledgeResult {
  readonly receipt: Receipt;
  /** That very receipt was acknowledged before; nothing was done. */
  readonly wasKnown: boolean;
  /** Of the receipt that it replaces; undefined for the first one. */
  readonly replacedCounter: number | undefined;
}

/**
 * Records what a site says that it holds: the next `pack` builds on it. Throws `not-trusted`, `wrong-site`, `store-dir-mismatch`, `stale-receipt`,
 * `damage` and `usage`; then nothing was recorded.
 */
export async function acknowledgeReceipt(options: AcknowledgeOptions): Promise<AcknowledgeResult> {
  const { mirror, trust = [], restored = false, signal } = options;
  const receipt = await readReceipt(options.receipt);
  const { header, digest } = receipt;
  if (options.site !== undefined) checkReceiptSite(receipt, options.site);
  const known = await readKnownSite(mirror, header.site);
  authenticateReceipt(mirror, receipt, known, trust);
  const last = known?.receipts.at(-1);
  const key = formatPublicKey(receipt.key);
  if (last?.digest === digest && (await isKept(mirror, header.site)))
    return { receipt, wasKnown: true, replacedCounter: last?.counter };
  if (known?.key === key && !restored) refuseStale(receipt, known);
  await checkReceiptPaths(receipt, signal);
  const record: KnownSite = {
    format: 1,
    name: header.site,
    key,
    highestCounter: Math.max(known?.highestCounter ?? 0, header.counter),
    receipts: [...(known?.receipts ?? []), { counter: header.counter, digest }],
  };
  await keepAcknowledged(mirror, record, receipt);
  return { receipt, wasKnown: false, replacedCounter: last?.counter };
}

async function isKept(mirror: Mirror, site: string): Promise<boolean> {
  try {
    return (await readAcknowledged(mirror, site)) !== undefined;
  } catch (error) {
    // It is written anew.
    if (error instanceof NixferryError && error.code === 'damage') return false;
    throw error;
  }
}

/** A site that was restored goes on from an older state: only people can tell that from an old receipt that somebody brings again. */
function refuseStale({ header, digest, where }: Receipt, known: KnownSite): void {
  const last = known.receipts.at(-1);
  if (last === undefined || last.digest === digest) return;
  const wasReplaced = known.receipts.some((receipt) => receipt.digest === digest);
  if (header.counter > last.counter && !wasReplaced) return;
  const why =
    header.counter === last.counter
      ? `another receipt ${header.counter} was acknowledged before`
      : `receipt ${last.counter} was acknowledged before`;
  throw new NixferryError('stale-receipt', `${where} is receipt ${header.counter} of ${header.site}; ${why}`, {
    hint: `take the last receipt of the site; only if the site was restored from a backup, type: nixferry ack ${where} --restored`,
  });
}
