import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { makeFakePath } from '../../test/support/fake-paths.ts';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import { makeOffer } from './offer.ts';
import { OfferTable } from './offer-table.ts';

async function makeRow(name: string) {
  const { info } = await makeFakePath(name);
  return { ...makeOffer(info, 'http://up', { trustedKeys: [], signingKeys: [] }), seenMs: 5 };
}

test('OfferTable gives offers by path and by NAR, before and after they are written, and after a restart', async () => {
  await using temp = await makeTempDir('offers');
  const row = await makeRow('one');
  const table = new OfferTable(temp.join('offers.sqlite'), '/nix/store');
  table.put(row);
  assert.deepEqual(table.get(row.hashPart), row);
  table.flush();
  assert.deepEqual(table.byNarName(row.narName), row);
  table.close();
  const again = new OfferTable(temp.join('offers.sqlite'), '/nix/store');
  assert.deepEqual(again.get(row.hashPart), row);
  again.forget(row.hashPart);
  assert.equal(again.byNarName(row.narName), undefined);
  again.close();
});

test('OfferTable begins anew when its file cannot be read', async () => {
  await using temp = await makeTempDir('offers');
  await writeFile(temp.join('offers.sqlite'), 'this is no database, and was never one'.repeat(100));
  const table = new OfferTable(temp.join('offers.sqlite'), '/nix/store');
  const row = await makeRow('one');
  table.put(row);
  table.flush();
  assert.deepEqual(table.get(row.hashPart), row);
  table.close();
});
