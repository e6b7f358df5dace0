import { readdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { NixferryError, systemErrorCode } from '../base/errors.ts';
import { readFileIfExists } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import { checkKeyName } from '../mirror/keys.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { formatPublicKey, type PublicKey } from '../nix/index.ts';
import { fingerprintWords } from './fingerprint-words.ts';
import { formatSequence } from './format.ts';
import type { KnownSite } from './known-sites.ts';
import { explainReadError } from './medium-error.ts';
import { parseReceipt, type Receipt } from './receipt.ts';

/** The name that a receipt bears on a medium. */
export function receiptFileName(site: string, counter: number): string {
  return `receipt-${site}-${formatSequence(counter)}.nixferry`;
}

/** Reads a receipt from a file, or the only one in a folder; nothing of it is trusted yet. Throws `usage` when there is none, `damage`. */
export async function readReceipt(path: string): Promise<Receipt> {
  const file = (await isFolder(path)) ? await onlyReceipt(resolve(path)) : resolve(path);
  const bytes = await readFileIfExists(file, LIMITS.receiptBytes).catch((error: unknown) => {
    throw explainReadError(error, file);
  });
  if (bytes !== undefined) return parseReceipt(bytes, file);
  throw new NixferryError('usage', `there is no receipt ${file}`, { hint: RECEIPT_HINT });
}

/** That the receipt is a site's own, and of the store folder that the mirror serves. Throws `not-trusted` or `store-dir-mismatch`. */
export function authenticateReceipt(
  mirror: Mirror,
  receipt: Receipt,
  known: KnownSite | undefined,
  trust: readonly PublicKey[],
): void {
  const { header, key, where } = receipt;
  if (!receipt.hasSigned) {
    throw new NixferryError('not-trusted', `the signature of ${where} does not hold`, {
      hint: 'the receipt was changed or damaged: fetch it from the site again; nothing was recorded',
    });
  }
  // It is shown, and stands in a command to paste.
  checkKeyName(key.name);
  const text = formatPublicKey(key);
  const isNamedNow = trust.some(({ name, bytes }) => name === key.name && bytes.equals(key.bytes));
  if (known?.key !== text && !isNamedNow) throw unknownKey(receipt, known);
  if (header.storeDir === mirror.storeDir) return;
  throw new NixferryError(
    'store-dir-mismatch',
    `${where} speaks of paths of ${header.storeDir}; the mirror holds paths of ${mirror.storeDir}`,
    { hint: 'name the mirror that feeds this site: --mirror DIR' },
  );
}

/** Throws `wrong-site` when the receipt is not one of `site`. */
export function checkReceiptSite({ header, where }: Receipt, site: string): void {
  if (header.site === site) return;
  throw new NixferryError('wrong-site', `${where} is a receipt of the site ${header.site}, not of ${site}`, {
    hint: `take a receipt of ${site}, or name the other site: --site ${header.site}`,
  });
}

const RECEIPT_HINT = 'give the file that nixferry receipt wrote on the isolated side';
const RECEIPT_NAME = /^receipt-.+\.nixferry$/;

function unknownKey({ header, key, where }: Receipt, known: KnownSite | undefined): NixferryError {
  const text = formatPublicKey(key);
  const words = `${text}, in words: ${fingerprintWords(key).join(' ')}`;
  const again = `nixferry ack ${where} --trust '${text}'`;
  if (known === undefined) {
    return new NixferryError('not-trusted', `${where} is the first receipt of the site ${header.site}: ${words}`, {
      hint: `compare the words with the site, by telephone or on paper (there: nixferry keys words); if they agree, type: ${again}`,
    });
  }
  return new NixferryError(
    'not-trusted',
    `${where} is signed by another key than that of the site ${header.site} so far (${known.key}): ${words}`,
    {
      hint: `ask the site whether its mirror was made anew; if so, and the words agree, type: ${again}`,
    },
  );
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return false;
    throw explainReadError(error, path);
  }
}

async function onlyReceipt(folder: string): Promise<string> {
  const names = (await readdir(folder)).filter((name) => RECEIPT_NAME.test(name)).sort();
  const [first, second] = names;
  if (first !== undefined && second === undefined) return join(folder, first);
  throw new NixferryError(
    'usage',
    first === undefined ? `there is no receipt in ${folder}` : `there are several receipts in ${folder}`,
    { hint: first === undefined ? RECEIPT_HINT : `name the one that is meant: ${names.slice(0, 10).join(', ')}` },
  );
}
