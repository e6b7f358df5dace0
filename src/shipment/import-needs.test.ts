import assert from 'node:assert/strict';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { type Depot, openDepot } from '../../test/support/depot.ts';
import { addTestPaths, forge, makeTestRoot, noise, PACK, visiblePaths } from '../../test/support/shipments.ts';
import { NixferryError } from '../base/errors.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { chooseBasis } from './choose-basis.ts';
import { importProblem } from './import-problem.ts';
import type { InventoryRecord, NeedLine } from './inventory.ts';
import { type PackResult, packShipment } from './pack.ts';

// The sender is trusted here, and what his delta says that it builds on is not true.

type Change = (records: InventoryRecord[]) => unknown[];

/** Of what the test's delta holds: the root, needs of lib-1 and libc, files and folders, and the paths lib-2 and app-2. */
function changeNeed(name: string, change: (line: NeedLine) => unknown[]): Change {
  return (records) => {
    return records.flatMap((record) => {
      return record.type === 'need' && record.path.endsWith(`-${name}`) ? change(record) : [record];
    });
  };
}

function ofType(records: readonly InventoryRecord[], type: InventoryRecord['type'], isOf = true): InventoryRecord[] {
  return records.filter((record) => (record.type === type) === isOf);
}

const LIES: Record<string, [Change, RegExp]> = {
  'a need twice': [changeNeed('libc', (line) => [line, line]), /twice/],
  'a need that travels, too': [
    (records) => records.map((record) => needOf(record, records)),
    /twice|differs|does not come before it/,
  ],
  'a need too few': [changeNeed('lib-1', () => []), /refers to .*-lib-1, which does not come before it/],
  'a need that nothing refers to, beyond the root': [
    changeNeed('libc', (line) => [line, { ...line, path: `${'0'.repeat(32)}-more` }]),
    /differs/,
  ],
  'a need behind the files': [
    (records) => [...ofType(records, 'need', false), ...ofType(records, 'need')],
    /does not come before it|behind the files/,
  ],
  'a root behind the needs': [
    (records) => [...ofType(records, 'need'), ...ofType(records, 'need', false)],
    /not in the list of roots|behind what belongs/,
  ],
  'a need of a root that is not there': [changeNeed('libc', (line) => [{ ...line, roots: [0, 1] }]), /list of roots/],
  'a need of no root': [changeNeed('libc', (line) => [{ ...line, roots: [] }]), /roots/],
  'a need with another hash': [
    changeNeed('libc', (line) => [{ ...line, narHash: `sha256:${'0'.repeat(52)}` }]),
    /differs/,
  ],
  'a need with another size': [changeNeed('libc', (line) => [{ ...line, narSizeBytes: 1 }]), /differs/],
  'a need outside of the store': [changeNeed('libc', (line) => [{ ...line, path: '../../etc/passwd' }]), /path/],
  'a need named dot dot': [changeNeed('libc', (line) => [{ ...line, path: `${line.path.slice(0, 33)}..` }]), /need of/],
  'a need of a shipment without number': [changeNeed('libc', (line) => [{ ...line, sequence: -1 }]), /sequence/],
};

function needOf(record: InventoryRecord, records: readonly InventoryRecord[]): unknown {
  const path = records.find((one) => one.type === 'path');
  return record.type === 'need' && record.path.endsWith('-libc') && path?.type === 'path'
    ? { ...record, path: path.path }
    : record;
}

async function openDelta(): Promise<{ depot: Depot; site: Mirror; delta: PackResult } & AsyncDisposable> {
  const stack = new AsyncDisposableStack();
  const depot = stack.use(await openDepot());
  const site = stack.use(await depot.openSite());
  await depot.import(site, await depot.pack());
  await depot.release();
  const delta = await depot.pack({ type: 'sequence', sequence: 1 });
  return { depot, site, delta, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

suite('import of needs', { concurrency: 6 }, () => {
  for (const [what, [records, pattern]] of Object.entries(LIES)) {
    test(`importShipment throws damage and publishes nothing when the inventory states ${what}`, async () => {
      await using opened = await openDelta();
      const { depot, site, delta } = opened;
      await forge({ folder: delta.folder, sender: depot.mirror, result: delta }, { records });
      await assert.rejects(depot.import(site, delta), (error) => {
        assert.ok(error instanceof NixferryError);
        assert.equal(error.code, 'damage');
        assert.match(error.message, pattern);
        return true;
      });
      assert.deepEqual(await visiblePaths(site), ['app-1', 'lib-1', 'libc']);
    });
  }

  test('importShipment throws damage when the manifest counts other needs', async () => {
    await using opened = await openDelta();
    const { depot, site, delta } = opened;
    const totals = { ...delta.manifest.totals, needCount: 3 };
    const manifest = (was: object): object => ({ ...was, totals });
    await forge({ folder: delta.folder, sender: depot.mirror, result: delta }, { manifest });
    await assert.rejects(depot.import(site, delta), (error) => {
      return error instanceof NixferryError && error.code === 'damage' && /totals/.test(error.message);
    });
  });

  test('importShipment imports the roots that are complete when another one lacks what it builds on', async () => {
    await using opened = await openDelta();
    const { depot } = opened;
    await addTestPaths(depot.mirror, depot.paths, [{ name: 'solo', contents: noise('solo', 100) }]);
    const roots = [depot.root, makeTestRoot(depot.paths, 'solo', ['solo'])];
    const basis = await chooseBasis(depot.mirror, 'plant-7', roots, { type: 'sequence', sequence: 1 });
    const to = join(depot.folder, 'both');
    const shipment = await packShipment({ ...PACK, mirror: depot.mirror, roots, basis, to });
    await using fresh = await depot.openSite('fresh');
    const result = await depot.import(fresh, shipment);
    const problem = importProblem(result);
    assert.equal(problem?.exitCode, 11);
    assert.match(problem.message, /2 paths .*-libc.*\(from shipment 1\); 1 of 2 roots are complete/);
    assert.deepEqual(await visiblePaths(fresh), ['solo']);
    assert.deepEqual(
      result.roots.map(({ name, complete }) => [name, complete]),
      [
        ['app', false],
        ['solo', true],
      ],
    );
    assert.equal(result.receipt.header.paths.count, 1);
  });
});
