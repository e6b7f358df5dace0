import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { openDepot } from '../../test/support/depot.ts';
import { flipBit } from '../../test/support/shipments.ts';
import { NixferryError } from '../base/errors.ts';
import { formatPublicKey } from '../nix/index.ts';
import { type AcknowledgeOptions, acknowledgeReceipt } from './acknowledge.ts';
import { chooseBasis } from './choose-basis.ts';
import { fingerprintWords } from './fingerprint-words.ts';
import { readAcknowledged } from './known-sites.ts';
import { formatReceipt } from './receipt.ts';
import { renewReceipt } from './renew-receipt.ts';
import { writeReceipt } from './write-receipt.ts';

function hasCode(code: string, pattern: RegExp = /./): (error: unknown) => boolean {
  return (error) =>
    error instanceof NixferryError && error.code === code && pattern.test(`${error.message} ${error.hint}`);
}

/** A sender and a site that imported its first shipment and wrote a receipt. */
async function openPair() {
  const stack = new AsyncDisposableStack();
  const depot = stack.use(await openDepot());
  const site = stack.use(await depot.openSite());
  await depot.import(site, await depot.pack());
  const folder = join(depot.folder, 'out');
  const file = await writeReceipt(await renewReceipt(site), `${depot.folder}/`);
  const ack = (options: Partial<AcknowledgeOptions> = {}) =>
    acknowledgeReceipt({ mirror: depot.mirror, receipt: file, ...options });
  return { depot, site, file, folder, ack, trust: [site.publicKey], [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

suite('acknowledge', { concurrency: 6 }, () => {
  test('acknowledgeReceipt shows the key of a new site as words, and remembers it when it is given', async () => {
    await using pair = await openPair();
    const { depot, site, file, ack, trust } = pair;
    const words = fingerprintWords(site.publicKey).join(' ');
    const key = formatPublicKey(site.publicKey);
    await assert.rejects(ack(), (error) => {
      assert.ok(error instanceof NixferryError && error.code === 'not-trusted');
      assert.ok(error.message.includes(words));
      assert.ok(error.hint?.includes(`nixferry ack ${file} --trust '${key}'`));
      return true;
    });
    assert.equal(await readAcknowledged(depot.mirror, 'plant-7'), undefined);
    assert.equal((await ack({ trust })).wasKnown, false);
    assert.equal((await ack()).wasKnown, true);
    await depot.release();
    await depot.import(site, await depot.pack());
    await writeReceipt(await renewReceipt(site), file);
    const second = await ack();
    assert.deepEqual([second.wasKnown, second.replacedCounter, second.receipt.header.counter], [false, 1, 2]);
  });

  test('acknowledgeReceipt throws not-trusted when a receipt was tampered with, and records nothing', async () => {
    await using pair = await openPair();
    const { depot, file, ack, trust } = pair;
    const size = (await readFile(file)).length;
    await flipBit(file, size - 20);
    await assert.rejects(ack({ trust }), hasCode('not-trusted', /signature .* does not hold/));
    assert.equal(await readAcknowledged(depot.mirror, 'plant-7'), undefined);
  });

  test('acknowledgeReceipt throws damage when the list is not what the site signed for, and records nothing', async () => {
    await using pair = await openPair();
    const { depot, site, file, ack, trust } = pair;
    const { site: name, counter, storeDir, shipments } = (await renewReceipt(site)).header;
    const contents = { site: name, counter: counter + 1, storeDir, shipments };
    await writeFile(file, await formatReceipt({ ...contents, paths: ['not a path'] }, site.secretKey));
    await assert.rejects(ack({ trust }), hasCode('damage', /list of paths/));
    assert.equal(await readAcknowledged(depot.mirror, 'plant-7'), undefined);
  });

  test('acknowledgeReceipt refuses an older receipt that comes again, unless the site was restored', async () => {
    await using pair = await openPair();
    const { depot, site, file, ack, trust } = pair;
    const older = await readFile(file);
    await ack({ trust });
    await depot.release();
    await depot.import(site, await depot.pack());
    await writeReceipt(await renewReceipt(site), file);
    const newer = await readFile(file);
    await ack();
    await writeFile(file, older);
    await assert.rejects(ack(), hasCode('stale-receipt', /receipt 1 of plant-7; receipt 2 was .* --restored/));
    assert.equal((await readAcknowledged(depot.mirror, 'plant-7'))?.header.counter, 2);
    await ack({ restored: true });
    assert.equal((await readAcknowledged(depot.mirror, 'plant-7'))?.header.counter, 1);
    // What the site said before it was restored is over, though its number is higher.
    await writeFile(file, newer);
    await assert.rejects(ack(), hasCode('stale-receipt'));
  });

  test('acknowledgeReceipt refuses another receipt of the same number', async () => {
    await using pair = await openPair();
    const { site, file, ack, trust } = pair;
    await ack({ trust });
    const { site: name, counter, storeDir } = (await renewReceipt(site)).header;
    const other = await formatReceipt({ site: name, counter, storeDir, shipments: [], paths: [] }, site.secretKey);
    await writeFile(file, other);
    await assert.rejects(ack(), hasCode('stale-receipt', /another receipt 1/));
  });

  test('acknowledgeReceipt wants a new key to be given when the mirror of a site was made anew, and then begins again', async () => {
    await using pair = await openPair();
    const { depot, site, file, ack, trust } = pair;
    await ack({ trust });
    await using anew = await depot.openSite('anew');
    await depot.import(anew, await depot.pack({ type: 'nothing' }));
    await writeReceipt(await renewReceipt(anew), file);
    const old = formatPublicKey(site.publicKey).replaceAll('+', '\\+');
    await assert.rejects(ack(), hasCode('not-trusted', new RegExp(`another key .*${old}`)));
    assert.equal((await ack({ trust: [anew.publicKey] })).receipt.key.name, 'anew-1');
  });

  test('acknowledgeReceipt and chooseBasis throw wrong-site for a receipt of another site', async () => {
    await using pair = await openPair();
    const { depot, file, ack, trust } = pair;
    await assert.rejects(ack({ trust, site: 'plant-8' }), hasCode('wrong-site', /of the site plant-7, not of plant-8/));
    await ack({ trust });
    const since = { type: 'receipt', path: file } as const;
    await assert.rejects(chooseBasis(depot.mirror, 'plant-8', [depot.root], since), hasCode('wrong-site'));
  });

  test('acknowledgeReceipt does not let a known site speak for another', async () => {
    await using pair = await openPair();
    const { site, file, ack, trust } = pair;
    await ack({ trust });
    const { counter, storeDir, shipments } = (await renewReceipt(site)).header;
    const contents = { site: 'plant-8', counter: counter + 1, storeDir, shipments, paths: [] };
    await writeFile(file, await formatReceipt(contents, site.secretKey));
    await assert.rejects(ack(), hasCode('not-trusted', /first receipt of the site plant-8/));
  });

  test('acknowledgeReceipt throws store-dir-mismatch for a site with another store folder', async () => {
    await using pair = await openPair();
    const { site, file, ack, trust } = pair;
    const contents = { site: 'plant-7', counter: 9, storeDir: '/gnu/store', shipments: [], paths: [] };
    await writeFile(file, await formatReceipt(contents, site.secretKey));
    await assert.rejects(ack({ trust }), hasCode('store-dir-mismatch'));
  });

  test('chooseBasis builds on a receipt that is only named when its site is known', async () => {
    await using pair = await openPair();
    const { depot, site, file, ack, trust } = pair;
    const since = { type: 'receipt', path: file } as const;
    await assert.rejects(depot.pack(since), hasCode('not-trusted', /nixferry ack/));
    await ack({ trust });
    await depot.release();
    const { manifest } = await depot.pack(since);
    assert.deepEqual([manifest.basis?.type, manifest.totals.pathCount, manifest.totals.needCount], ['receipt', 2, 2]);
    await depot.import(site, { folder: join(depot.folder, 'media/plant-7-0002') } as never);
  });

  test('readReceipt finds the only receipt of a folder, and asks when there are several or none', async () => {
    await using pair = await openPair();
    const { depot, site, ack, trust } = pair;
    assert.equal((await ack({ trust, receipt: depot.folder })).receipt.header.counter, 1);
    await depot.release();
    await depot.import(site, await depot.pack());
    await writeReceipt(await renewReceipt(site), depot.folder);
    await assert.rejects(ack({ receipt: depot.folder }), hasCode('usage', /several receipts.*-0001.*-0002/s));
    await assert.rejects(ack({ receipt: join(depot.folder, 'media') }), hasCode('usage', /no receipt/));
    await assert.rejects(ack({ receipt: join(depot.folder, 'nowhere') }), hasCode('usage', /no receipt/));
  });

  test('renewReceipt gives the same receipt as long as nothing changes, and a new number when something does', async () => {
    await using pair = await openPair();
    const { site } = pair;
    const first = await renewReceipt(site);
    assert.deepEqual((await renewReceipt(site)).bytes, first.bytes);
    const [path] = await site.index.hashParts();
    assert.ok(path !== undefined);
    await site.storage.remove(`${path}.narinfo`);
    await site.index.drop([path]);
    const second = await renewReceipt(site);
    assert.deepEqual([second.header.counter, second.header.paths.count], [2, first.header.paths.count - 1]);
  });

  test('writeReceipt replaces a receipt and nothing else', async () => {
    await using pair = await openPair();
    const { site, file, depot } = pair;
    const receipt = await renewReceipt(site);
    assert.equal(await writeReceipt(receipt, file), file);
    const other = join(depot.folder, 'other');
    await writeFile(other, 'mine');
    await assert.rejects(writeReceipt(receipt, other), hasCode('target-occupied'));
    assert.equal(await readFile(other, 'utf8'), 'mine');
    await assert.rejects(writeReceipt(receipt, join(other, 'below')), hasCode('usage'));
  });
});
