import assert from 'node:assert/strict';
import { cp, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { type Depot, openDepot } from '../../test/support/depot.ts';
import { infoOf, visiblePaths } from '../../test/support/shipments.ts';
import { NixferryError } from '../base/errors.ts';
import { type Mirror, openMirror } from '../mirror/mirror.ts';
import { readRoots } from '../mirror/roots.ts';
import {
  baseNameOf,
  formatRealisation,
  formatRealisationPath,
  hashBytes,
  nameOf,
  type StorePath,
} from '../nix/index.ts';
import { formatSequence } from './format.ts';
import type { ImportResult } from './import.ts';
import { importProblem } from './import-problem.ts';
import { readInventory } from './inventory-file.ts';
import type { PackResult } from './pack.ts';
import { receiptPaths } from './receipt.ts';
import { siteStatuses } from './site-status.ts';

function hasCode(code: string, pattern: RegExp = /./): (error: unknown) => boolean {
  return (error) =>
    error instanceof NixferryError && error.code === code && pattern.test(`${error.message} ${error.hint}`);
}

/** The names of the paths that travel. */
async function sentNames({ mirror }: Depot, { manifest }: PackResult): Promise<string[]> {
  return lineNames(mirror, manifest, 'path');
}

async function lineNames(
  mirror: Mirror,
  { site, sequence, inventory }: PackResult['manifest'],
  type: string,
): Promise<string[]> {
  const kept = join(mirror.layout.folder, `sent/${site}/${String(sequence).padStart(4, '0')}.inventory.jsonl.zst`);
  const names: string[] = [];
  for await (const record of readInventory(kept, inventory)) {
    if (record.type !== type || (record.type !== 'path' && record.type !== 'need')) continue;
    const from = record.type === 'need' ? ` of ${record.sequence ?? '?'}` : '';
    names.push(`${nameOf(`/nix/store/${record.path}` as StorePath)}${from}`);
  }
  return names.sort();
}

/** The realisations that travel. */
async function sentRealisations({ mirror }: Depot, { manifest }: PackResult): Promise<string[]> {
  const kept = join(mirror.layout.folder, `sent/plant-7/${formatSequence(manifest.sequence)}.inventory.jsonl.zst`);
  const names: string[] = [];
  for await (const record of readInventory(kept, manifest.inventory)) {
    if (record.type === 'file' && record.name.endsWith('.doi')) names.push(record.name);
  }
  return names.sort();
}

/** Lets the depot's mirror know a derivation that gave the path; resolves to the name of the realisation's file. */
async function realise({ mirror, paths }: Depot, name: string): Promise<string> {
  const key = { layout: 'realisations', derivationHash: hashBytes('sha256', name), outputName: 'out' } as const;
  const outPath = baseNameOf(infoOf(paths, name).storePath);
  const file = formatRealisationPath(key);
  await mirror.storage.write(file, formatRealisation({ key, outPath, signatures: [], dependencies: new Map() }));
  return file;
}

/** The whole of the root app as the site sees it, and from which shipment. */
async function appAt(site: Mirror): Promise<string> {
  const [root] = await readRoots(site);
  const path = root?.rootPaths[0] ?? 'none';
  return `${path.slice(33)} of ${root?.shipment?.sequence}${root?.complete === true ? '' : ', not complete'}`;
}

function assertComplete(result: ImportResult): void {
  assert.equal(importProblem(result), undefined);
}

// Most of the time is waiting for the disk.
suite('deltas', { concurrency: 6 }, () => {
  test('pack sends what a receipt does not list and needs the rest when the receipt was acknowledged', async () => {
    await using depot = await openDepot();
    await using site = await depot.openSite();
    const first = await depot.pack();
    assert.deepEqual(await sentNames(depot, first), ['app-1', 'lib-1', 'libc']);
    assert.equal(first.manifest.basis, null);
    await depot.acknowledge(await depot.import(site, first));
    await depot.release();
    const second = await depot.pack();
    assert.deepEqual(await sentNames(depot, second), ['app-2', 'lib-2']);
    assert.deepEqual(await lineNames(depot.mirror, second.manifest, 'need'), ['lib-1 of 1', 'libc of 1']);
    assert.deepEqual([second.manifest.basis?.type, second.manifest.totals.needCount], ['receipt', 2]);
    assert.equal(second.manifest.receiptCounter, 1);
    const readMe = await readFile(join(second.folder, 'READ-ME-FIRST.txt'), 'utf8');
    assert.match(readMe, /^ {2}Builds on: 2 store paths that came with earlier shipments$/m);
    const result = await depot.import(site, second);
    assertComplete(result);
    assert.equal(await appAt(site), 'app-2 of 2');
    const [root] = await readRoots(site);
    assert.deepEqual(root?.paths, depot.root.paths, 'the record of the root is whole');
    assert.equal(result.receipt.header.counter, 2);
  });

  test('pack sends again what was not acknowledged, however many shipments were lost in a row', async () => {
    await using depot = await openDepot();
    await using site = await depot.openSite();
    await depot.acknowledge(await depot.import(site, await depot.pack()));
    for (let lost = 0; lost < 10; lost++) {
      await depot.release();
      await depot.pack();
    }
    await depot.release();
    const next = await depot.pack();
    const news = Array.from({ length: 11 }, (_, index) => `lib-${index + 2}`);
    assert.deepEqual(await sentNames(depot, next), ['app-12', ...news].sort());
    const result = await depot.import(site, next);
    assertComplete(result);
    assert.equal(await appAt(site), 'app-12 of 12');
    await depot.acknowledge(result);
    const [status] = await siteStatuses(depot.mirror);
    assert.deepEqual(status, {
      site: 'plant-7',
      lastSequence: 12,
      receiptCounter: 2,
      receiptPaths: 15,
      acknowledged: 12,
      unacknowledged: [],
      lost: [2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
    });
  });

  test('pack sends everything when it is to build on nothing, and nothing when all is there', async () => {
    await using depot = await openDepot();
    await using site = await depot.openSite();
    await depot.acknowledge(await depot.import(site, await depot.pack()));
    const full = await depot.pack({ type: 'nothing' });
    assert.deepEqual(
      [full.manifest.basis, full.manifest.totals.needCount, full.manifest.totals.pathCount],
      [null, 0, 3],
    );
    const empty = await depot.pack();
    assert.deepEqual([empty.manifest.totals.needCount, empty.manifest.totals.pathCount], [3, 0]);
    assertComplete(await depot.import(site, empty));
    assert.equal(await appAt(site), 'app-1 of 3');
  });

  test('importShipment names what is missing and from which shipment when a delta comes without its basis', async () => {
    await using depot = await openDepot();
    await using site = await depot.openSite();
    assertComplete(await depot.import(site, await depot.pack()));
    await depot.release();
    await depot.pack({ type: 'sequence', sequence: 1 });
    await depot.release();
    const third = await depot.pack({ type: 'sequence', sequence: 2 });
    assert.deepEqual(await sentNames(depot, third), ['app-3', 'lib-3']);
    const result = await depot.import(site, third);
    assert.deepEqual(
      result.missingNeeds.map(({ path, sequence }) => [path.slice(33), sequence]),
      [['lib-2', 2]],
    );
    assert.ok(
      hasCode(
        'basis-missing',
        /a path .*-lib-2 \(from shipment 2\); 0 of 1 root is complete.*--lost 2/s,
      )(importProblem(result)),
    );
    assert.deepEqual(
      result.failures.map(({ kind, path }) => [kind, path?.slice(33)]),
      [
        ['need', 'lib-3'],
        ['need', 'app-3'],
      ],
    );
    assert.deepEqual(await visiblePaths(site), ['app-1', 'lib-1', 'libc']);
    assert.equal(await appAt(site), 'app-1 of 1', 'the last complete version stays');
  });

  test('packLost sends the share of a shipment again, which moves no root back and lets a later one be whole', async () => {
    await using depot = await openDepot();
    await using site = await depot.openSite();
    await depot.import(site, await depot.pack());
    await depot.release();
    await depot.pack({ type: 'sequence', sequence: 1 });
    await depot.release();
    const third = await depot.pack({ type: 'sequence', sequence: 2 });
    await depot.import(site, third);
    const again = await depot.packLost(2);
    assert.deepEqual(again.manifest.lost, [2]);
    assert.deepEqual(await sentNames(depot, again), ['app-2', 'lib-2']);
    assert.deepEqual(await lineNames(depot.mirror, again.manifest, 'need'), ['lib-1 of 1', 'libc of 1']);
    const healing = await depot.import(site, again);
    assertComplete(healing);
    assert.equal(await appAt(site), 'app-2 of 2', 'as it was in shipment 2, though it came as 4');
    assertComplete(await depot.import(site, third));
    assert.equal(await appAt(site), 'app-3 of 3');
    assertComplete(await depot.import(site, again));
    assert.equal(await appAt(site), 'app-3 of 3', 'not back');
  });

  test('packLost sends the shares of several shipments in one, each path once', async () => {
    await using depot = await openDepot();
    await using site = await depot.openSite();
    for (let version = 1; version <= 5; version++) {
      await depot.pack(version === 1 ? { type: 'nothing' } : { type: 'sequence', sequence: version - 1 });
      await depot.release();
    }
    const all = await depot.packLost(1, 2, 3, 4, 5);
    assert.deepEqual([all.manifest.basis, all.manifest.totals.needCount], [null, 0]);
    assertComplete(await depot.import(site, all));
    assert.equal(await appAt(site), 'app-5 of 5');
  });

  test('lostShipments throws usage for a shipment that was never made, and upstream-incomplete when it is no longer whole', async () => {
    await using depot = await openDepot();
    await depot.pack();
    await assert.rejects(depot.packLost(2), hasCode('usage', /shipment 2 .* never made.*shipments 1 to 1/));
    const [info] = [...depot.paths.values()];
    assert.ok(info !== undefined);
    await depot.mirror.index.drop([info.storePath.slice(11, 43) as never]);
    await assert.rejects(
      depot.packLost(1),
      hasCode('upstream-incomplete', /no longer in .*: 1 path of plant-7-0001: /),
    );
  });

  test('importShipment heals earlier shipments when they come out of order', async () => {
    await using depot = await openDepot();
    await using site = await depot.openSite();
    const shipments: PackResult[] = [];
    for (let version = 1; version <= 4; version++) {
      shipments.push(
        await depot.pack(version === 1 ? { type: 'nothing' } : { type: 'sequence', sequence: version - 1 }),
      );
      await depot.release();
    }
    const [first, second, third, fourth] = shipments as [PackResult, PackResult, PackResult, PackResult];
    const early = await depot.import(site, fourth);
    assert.ok(hasCode('basis-missing', /--lost 1-3/)(importProblem(early)));
    assert.deepEqual(await visiblePaths(site), []);
    assertComplete(await depot.import(site, first));
    assert.equal(await appAt(site), 'app-1 of 1', 'a complete one is worth more than a later one that is not');
    assert.equal(importProblem(await depot.import(site, third))?.code, 'basis-missing');
    assertComplete(await depot.import(site, second));
    assertComplete(await depot.import(site, third));
    assertComplete(await depot.import(site, fourth));
    assert.equal(await appAt(site), 'app-4 of 4');
    const { shipments: received } = (await depot.import(site, second)).receipt.header;
    assert.deepEqual(
      received.map(({ sequence, complete }) => [sequence, complete]),
      [
        [1, true],
        [2, true],
        [3, true],
        [4, true],
      ],
    );
  });

  test('importShipment makes an earlier root complete when another shipment brings what it lacked', async () => {
    await using depot = await openDepot();
    await using site = await depot.openSite();
    await depot.import(site, await depot.pack());
    await depot.release();
    await depot.pack({ type: 'sequence', sequence: 1 });
    // Nothing of it travels, for all of it is taken to be there.
    const empty = await depot.pack({ type: 'sequence', sequence: 2 });
    const partial = await depot.import(site, empty);
    assert.equal(importProblem(partial)?.code, 'basis-missing');
    assert.deepEqual(
      partial.receipt.header.shipments.map(({ complete }) => complete),
      [true, false],
    );
    const healing = await depot.import(site, await depot.packLost(2));
    assertComplete(healing);
    assert.deepEqual(healing.healed, [{ sender: 'carrier-1', sequence: 3, complete: true, roots: ['app'] }]);
    assert.equal(await appAt(site), 'app-2 of 3');
    assert.deepEqual(
      healing.receipt.header.shipments.map(({ complete }) => complete),
      [true, true, true],
    );
  });

  test('a site that was restored from an old backup gets what it lost since, and the sender needs no telling', async () => {
    await using depot = await openDepot();
    const backup = join(depot.folder, 'backup');
    {
      await using site = await depot.openSite();
      await depot.acknowledge(await depot.import(site, await depot.pack()));
      await site.close();
      await cp(site.directory, backup, { recursive: true, preserveTimestamps: true });
    }
    {
      await using site = await depot.openSite();
      for (let version = 2; version <= 4; version++) {
        await depot.release();
        await depot.acknowledge(await depot.import(site, await depot.pack()));
      }
    }
    await using restored = await openMirror(backup, { access: 'write' });
    await depot.release();
    const delta = await depot.pack();
    assert.deepEqual(await sentNames(depot, delta), ['app-5', 'lib-5']);
    const result = await depot.import(restored, delta);
    assert.ok(hasCode('basis-missing', /lib-2 \(from shipment 2\).*lib-4 \(from shipment 4\)/s)(importProblem(result)));
    assert.equal(result.seemsRestored, true);
    assert.deepEqual(await depot.acknowledge(result).then(({ receipt }) => receipt.header.counter), 5);
    const healing = await depot.pack();
    assert.deepEqual(await sentNames(depot, healing), ['app-5', 'lib-2', 'lib-3', 'lib-4', 'lib-5']);
    assertComplete(await depot.import(restored, healing));
    assert.equal(await appAt(restored), 'app-5 of 6');
  });

  test('two sites that are fed from one mirror have numbers, receipts and deltas of their own', async () => {
    await using depot = await openDepot();
    await using north = await depot.openSite('north');
    await using south = await depot.openSite('south');
    await depot.acknowledge(await depot.import(north, await depot.pack(undefined, 'north')));
    await depot.release();
    await depot.import(south, await depot.pack(undefined, 'south'));
    await depot.release();
    const toNorth = await depot.pack(undefined, 'north');
    const toSouth = await depot.pack(undefined, 'south');
    assert.deepEqual([toNorth.manifest.sequence, toSouth.manifest.sequence], [2, 2]);
    assert.deepEqual(await sentNames(depot, toNorth), ['app-3', 'lib-2', 'lib-3']);
    assert.deepEqual(await sentNames(depot, toSouth), ['app-3', 'lib-1', 'lib-2', 'lib-3', 'libc']);
    assertComplete(await depot.import(north, toNorth));
    assertComplete(await depot.import(south, toSouth));
    await assert.rejects(depot.import(north, toSouth), hasCode('wrong-site'));
  });

  test('pack sends a realisation that is new for a path which the site has, until it is known to have that, too', async () => {
    await using depot = await openDepot();
    await using site = await depot.openSite();
    await depot.acknowledge(await depot.import(site, await depot.pack()));
    const name = await realise(depot, 'libc');
    await depot.release();
    const second = await depot.pack();
    assert.deepEqual(await sentRealisations(depot, second), [name]);
    assert.ok((await sentNames(depot, second)).every((sent) => sent !== 'libc'));
    // It never arrives.
    await depot.release();
    const third = await depot.pack();
    assert.deepEqual(await sentRealisations(depot, third), [name]);
    const result = await depot.import(site, third);
    assertComplete(result);
    assert.ok((await site.storage.stat(name)) !== undefined);
    await depot.acknowledge(result);
    await depot.release();
    const newest = await realise(depot, 'lib-1');
    assert.deepEqual(await sentRealisations(depot, await depot.pack()), [newest]);
    assert.deepEqual(await sentRealisations(depot, await depot.pack({ type: 'sequence', sequence: 3 })), [newest]);
    assert.deepEqual(await sentRealisations(depot, await depot.packLost(2)), [newest, name].sort());
    assert.deepEqual(await sentRealisations(depot, await depot.pack({ type: 'nothing' })), [newest, name].sort());
  });

  test('chooseBasis takes the sender at his word when nothing ever comes back', async () => {
    await using depot = await openDepot();
    await using site = await depot.openSite();
    assertComplete(await depot.import(site, await depot.pack()));
    for (let sequence = 1; sequence <= 5; sequence++) {
      await depot.release();
      const delta = await depot.pack({ type: 'sequence', sequence });
      assert.deepEqual(delta.manifest.basis, { type: 'sequence', sequence });
      assert.equal(delta.manifest.totals.pathCount, 2);
      assertComplete(await depot.import(site, delta));
    }
    assert.equal(await appAt(site), 'app-6 of 6');
    await assert.rejects(depot.pack({ type: 'sequence', sequence: 7 }), hasCode('usage', /7 .* never made; .* is 6/));
    await assert.rejects(
      depot.pack({ type: 'sequence', sequence: 1 }, 'nowhere'),
      hasCode('usage', /nothing was sent to nowhere/),
    );
  });

  test('importShipment knows what the mirror holds though another shipment brought it', async () => {
    await using depot = await openDepot();
    await using site = await depot.openSite();
    const full = await depot.pack();
    assertComplete(await depot.import(site, full));
    const libc = depot.paths.get('libc');
    assert.ok(libc !== undefined);
    await site.storage.remove(libc.url);
    const delta = await depot.pack({ type: 'sequence', sequence: 1 });
    const result = await depot.import(site, delta);
    assert.deepEqual(result.missingNeeds, [{ path: baseNameOf(libc.storePath), sequence: 1 }]);
    assert.ok(!(await Array.fromAsync(receiptNames(result))).includes(baseNameOf(libc.storePath)));
  });
});

async function* receiptNames({ receipt }: ImportResult): AsyncGenerator<string> {
  yield* receiptPaths(receipt);
}
