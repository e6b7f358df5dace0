import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { zstdCompressSync } from 'node:zlib';
import { NixferryError } from '../base/errors.ts';
import { generateSecretKey, signText } from '../nix/index.ts';
import { formatReceipt, parseReceipt, type Receipt, type ReceiptContents, receiptPaths } from './receipt.ts';

const SECRET = generateSecretKey('site-1', Buffer.alloc(32, 7));
const NAMES = ['a', 'b', 'c'].map((digit) => `${digit.repeat(32)}-${digit}-1.0`);
const CONTENTS: ReceiptContents = {
  site: 'plant-7',
  counter: 3,
  storeDir: '/nix/store',
  shipments: [{ sender: 'office-1', sequence: 2, manifestSha256: '0'.repeat(64), complete: true }],
  paths: NAMES,
};

/** What an ill-meaning owner of the key would sign. */
function sign(header: object | string, list: Buffer): Buffer {
  const text = typeof header === 'string' ? header : JSON.stringify(header);
  const body = Buffer.concat([Buffer.from(`${text}\n`), list]);
  const message = Buffer.concat([Buffer.from('nixferry-receipt-v1\n'), body]);
  return Buffer.concat([Buffer.from(`nixferry-receipt-v1\n${signText(SECRET, message)}\n`), body]);
}

async function headerOf(): Promise<Receipt['header']> {
  return parseReceipt(await formatReceipt(CONTENTS, SECRET), 'receipt').header;
}

function textOf(names: readonly string[]): Buffer {
  return Buffer.from(names.map((name) => `${name}\n`).join(''));
}

function hasCode(code: string, pattern: RegExp): (error: unknown) => boolean {
  return (error) => error instanceof NixferryError && error.code === code && pattern.test(error.message);
}

suite('receipt', () => {
  test('parseReceipt reads what formatReceipt wrote', async () => {
    const receipt = parseReceipt(await formatReceipt(CONTENTS, SECRET), 'receipt');
    const { site, counter, storeDir, shipments } = receipt.header;
    assert.deepEqual(
      { site, counter, storeDir, shipments, paths: await Array.fromAsync(receiptPaths(receipt)) },
      CONTENTS,
    );
    assert.equal(receipt.hasSigned, true);
    assert.equal(receipt.key.name, 'site-1');
  });

  test('formatReceipt writes the same bytes for the same contents', async () => {
    assert.deepEqual(await formatReceipt(CONTENTS, SECRET), await formatReceipt(CONTENTS, SECRET));
  });

  test('formatReceipt manages a site that holds nothing', async () => {
    const receipt = parseReceipt(await formatReceipt({ ...CONTENTS, paths: [] }, SECRET), 'receipt');
    assert.deepEqual(await Array.fromAsync(receiptPaths(receipt)), []);
  });

  test('formatReceipt takes some 30 bytes a path', async () => {
    const letters = '0123456789abcdfghijklmnpqrsvwxyz';
    let state = 1;
    const digit = (): string => {
      state = (state * 48_271) % 2_147_483_647;
      return letters[state % 32] ?? '';
    };
    const paths = Array.from({ length: 20_000 }, (_, index) => {
      return `${Array.from({ length: 32 }, digit).join('')}-python3.11-package-${index}-1.${index % 7}`;
    }).sort();
    const bytes = await formatReceipt({ ...CONTENTS, paths }, SECRET);
    assert.ok(bytes.length < 35 * paths.length, `${bytes.length / paths.length} bytes a path`);
    assert.deepEqual(await Array.fromAsync(receiptPaths(parseReceipt(bytes, 'receipt'))), paths);
  });

  test('parseReceipt finds the signature wrong, or the receipt broken, when any one bit is turned', async () => {
    const bytes = await formatReceipt(CONTENTS, SECRET);
    for (let position = 0; position < bytes.length; position++) {
      const changed = Buffer.from(bytes);
      changed[position] = (changed[position] ?? 0) ^ 1;
      try {
        assert.equal(parseReceipt(changed, 'receipt').hasSigned, false, `at byte ${position}`);
      } catch (error) {
        if (!(error instanceof NixferryError) || !['damage', 'newer-format'].includes(error.code)) throw error;
      }
    }
  });

  test('parseReceipt throws damage when it is cut off anywhere before its list', async () => {
    const bytes = await formatReceipt(CONTENTS, SECRET);
    const start = bytes.indexOf('\n', bytes.indexOf('{'));
    for (let length = 0; length <= start; length++) {
      assert.throws(() => parseReceipt(bytes.subarray(0, length), 'receipt'), hasCode('damage', /not a whole receipt/));
    }
    assert.equal(parseReceipt(bytes.subarray(0, -1), 'receipt').hasSigned, false);
  });

  test('parseReceipt takes no signature that was made for a manifest', async () => {
    const bytes = await formatReceipt(CONTENTS, SECRET);
    const body = bytes.subarray(bytes.indexOf('{'));
    const signature = signText(SECRET, Buffer.concat([Buffer.from('nixferry-manifest-v1\n'), body]));
    const forged = Buffer.concat([Buffer.from(`nixferry-receipt-v1\n${signature}\n`), body]);
    assert.equal(parseReceipt(forged, 'receipt').hasSigned, false);
  });

  const headers: [string, (header: Receipt['header']) => object | string, string, RegExp][] = [
    ['names no site', (header) => ({ ...header, site: '../x' }), 'damage', /site/],
    ['has no counter', (header) => ({ ...header, counter: 0 }), 'damage', /counter/],
    ['is nested deeply', () => `{"a":${'['.repeat(10_000)}`, 'damage', /nested/],
    ['is not JSON', () => 'no', 'damage', /not JSON/],
    ['needs a newer reader', (header) => ({ ...header, format: 2, minReader: 2 }), 'newer-format', /format 2/],
    ['has no key', (header) => ({ ...header, siteKey: 'site-1' }), 'damage', /siteKey/],
    [
      'has a key whose name steers a terminal',
      (header) => ({ ...header, siteKey: `\u001b[2J${header.siteKey}` }),
      'damage',
      /siteKey/,
    ],
    [
      'announces a list without measure',
      (header) => ({ ...header, paths: { ...header.paths, textSizeBytes: 2 ** 50 } }),
      'damage',
      /textSizeBytes/,
    ],
  ];
  for (const [what, change, code, pattern] of headers) {
    test(`parseReceipt throws ${code} when the header ${what}`, async () => {
      const bytes = sign(change(await headerOf()), zstdCompressSync(textOf(NAMES)));
      assert.throws(() => parseReceipt(bytes, 'receipt'), hasCode(code, pattern));
    });
  }

  const lists: [string, () => Buffer, RegExp][] = [
    ['is not sorted', () => textOf(NAMES.toReversed()), /not in order/],
    ['names a path twice', () => textOf(NAMES.flatMap((name) => [name, name])), /not in order|beyond|more than/],
    ['is too short', () => textOf(NAMES.slice(1)), /has 2 lines, not 3/],
    ['climbs', () => Buffer.from(`../../etc/passwd\n`), /holds something else/],
    ['has an empty line', () => Buffer.from('\n\n\n'), /holds something else/],
    ['does not end', () => textOf(NAMES).subarray(0, -1), /lines, not 3/],
    ['is larger than the header says', () => Buffer.alloc(50_000_000), /./],
  ];
  for (const [what, list, pattern] of lists) {
    test(`receiptPaths throws damage when the list ${what}, though signed`, async () => {
      const receipt = parseReceipt(sign(await headerOf(), zstdCompressSync(list())), 'receipt');
      assert.equal(receipt.hasSigned, true);
      await assert.rejects(Array.fromAsync(receiptPaths(receipt)), hasCode('damage', pattern));
    });
  }

  test('receiptPaths throws damage when the list is not zstd', async () => {
    const receipt = parseReceipt(sign(await headerOf(), Buffer.from('garbage')), 'receipt');
    await assert.rejects(Array.fromAsync(receiptPaths(receipt)), hasCode('damage', /./));
  });
});
