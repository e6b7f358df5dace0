import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fakeStorePath } from '../../test/support/fake-paths.ts';
import type { CheckedMissing, CheckResult } from '../closure/check-result.ts';
import type { RootRecord } from '../mirror/roots.ts';
import { baseNameOf } from '../nix/index.ts';
import { type CheckedRoot, checkFields, countMissing, describeCheckedRoot } from './check-report.ts';

const drv = fakeStorePath('hello.drv');
const target = {
  target: { drvPath: drv, outputs: ['out'] },
  builds: [drv],
  fetches: [],
  fetchBytes: 0,
  missing: 0,
  systems: ['x86_64-linux'],
};

function missing(name: string, fields: Partial<CheckedMissing>): CheckedMissing {
  return {
    path: fakeStorePath(name),
    kind: 'path',
    derivation: undefined,
    chain: [drv],
    lacks: [],
    isUnsigned: false,
    isWithheld: false,
    damage: undefined,
    wantedFor: [undefined],
    ...fields,
  };
}

function checked(result: Partial<CheckResult>, record: Partial<RootRecord> = {}): CheckedRoot {
  return {
    name: 'web01',
    mirrorDirectory: '/srv/mirror',
    imported: [],
    record: {
      format: 1,
      id: 'web01-1',
      name: 'web01',
      request: '.#nixosConfigurations.web01',
      scope: 'reconfigure',
      rootPaths: [],
      paths: [],
      complete: true,
      origin: 'collected',
      ...record,
    },
    result: {
      judged: 'derivations',
      asked: { paths: 3, fetchBytes: 2000 },
      targets: [target],
      missing: [],
      unsigned: [],
      unknowable: [],
      ...result,
    },
  };
}

test('describeCheckedRoot says what clients do when nothing is missing', () => {
  const text = describeCheckedRoot(checked({}));
  assert.match(text, /^web01 \(reconfigure\): complete\n/);
  assert.match(
    text,
    /to install and evaluate +fetch 3 paths \(2\.0 kB\)\n +to build it +build 1 derivation, fetch 0 paths/,
  );
  assert.doesNotMatch(text, /next:/);
});

test('describeCheckedRoot names the side when a root was imported', () => {
  const lost = missing('lost', { kind: 'recorded' });
  const shipment = { sender: 'office-1', site: 'plant-7', sequence: 4 };
  const text = describeCheckedRoot(checked({ missing: [lost] }, { origin: 'imported', shipment }));
  assert.match(
    text,
    /next: {2}on the connected side:\n +nixferry collect .*\n +nixferry pack --site plant-7 --to DIR\n +then here:\n +nixferry import DIR/,
  );
});

test('describeCheckedRoot asks for the change where a derivation was made behind the gap', () => {
  const shipment = { sender: 'office-1', site: 'plant-7', sequence: 4 };
  const targets = [{ derivation: baseNameOf(drv), outputs: ['out'] }];
  const root = checked({}, { origin: 'imported', shipment, targets });
  const imported = root.record === undefined ? [] : [root.record];
  const source = missing('hello.tar.gz', { kind: 'fixed-output', derivation: drv });
  const own: CheckedRoot = { ...checked({ missing: [source] }), name: drv, record: undefined };
  const text = describeCheckedRoot({ ...own, imported });
  assert.match(text, /collect --scope reconfigure \.#nixosConfigurations\.web01 --variant 'OPTION = VALUE;'/);
  assert.match(text, /pack --site plant-7 --to DIR\n +then here:\n +nixferry import DIR/);
  assert.ok(!text.slice(text.indexOf('next:')).includes('.drv'), text);
  // On the connected side it is in the store.
  assert.match(describeCheckedRoot(own), /next: {2}on the connected side:\n(?:.*\n)* +nixferry collect .*\.drv/);
});

test('describeCheckedRoot says what is named of a root that was never complete', () => {
  const output = missing('kmod', { kind: 'output', derivation: drv, lacks: [drv] });
  assert.match(
    describeCheckedRoot(checked({ missing: [output] }, { complete: false })),
    /not all of it could be had when it was collected/,
  );
  assert.doesNotMatch(describeCheckedRoot(checked({ missing: [output] })), /could be had when/);
});

test('describeCheckedRoot says how a source is had that no cache has', () => {
  const source = missing('hello.tar.gz', { kind: 'fixed-output', derivation: drv });
  const text = describeCheckedRoot(checked({ missing: [source] }));
  assert.match(text, /would have to fetch it from the internet/);
  assert.ok(text.includes(`nix-store --realise ${drv} --option extra-substituters file:///srv/mirror`));
});

test('describeCheckedRoot tells clients to fetch by name what its derivation withholds', () => {
  const bought = missing('game.zip', { kind: 'fixed-output', derivation: drv, isWithheld: true });
  const text = describeCheckedRoot(checked({ missing: [bought] }));
  assert.match(text, /forbids clients to take it from a cache/);
  assert.ok(text.includes(`on each client, before it builds:\n         nix-store --realise ${bought.path}`));
  assert.ok(!text.includes(`nix-store --realise ${drv}`));
});

test('describeCheckedRoot says for whom something is missing', () => {
  const variant = { ...target, target: { ...target.target, variant: 'programs.fish.enable = true;' } };
  const forAll = missing('a', { wantedFor: [undefined, 'programs.fish.enable = true;'] });
  const forFish = missing('b', { wantedFor: ['programs.fish.enable = true;'] });
  const text = describeCheckedRoot(checked({ targets: [target, variant], missing: [forAll, forFish] }));
  assert.match(text, /-a\n.*\n +wanted for the root itself and every variant/);
  assert.match(text, /-b\n.*\n +wanted for the variant programs\.fish\.enable = true;/);
});

test('describeCheckedRoot shows some of many, and what cannot be known', () => {
  const many = Array.from({ length: 30 }, (_, index) => missing(`lost-${index}`, {}));
  const text = describeCheckedRoot(
    checked({ missing: many, unknowable: [drv], judged: 'paths-only', unsigned: [drv] }),
  );
  assert.match(text, /and 10 more \(--json lists all\)/);
  assert.match(text, /cannot be known: what .*hello\.drv wants while it is built/);
  assert.match(text, /not judged: whether a changed configuration can be built/);
  assert.match(text, /no signature that counts: .*hello\.drv; clients build instead/);
});

test('checkFields gives everything, null for the root itself', () => {
  const fields = checkFields(checked({ missing: [missing('lost', {})] }));
  assert.deepEqual([fields['complete'], fields['scope']], [false, 'reconfigure']);
  assert.deepEqual((fields['missing'] as { wantedFor: unknown }[])[0]?.wantedFor, [null]);
});

test('countMissing counts what several roots miss once', () => {
  assert.equal(
    countMissing([
      checked({ missing: [missing('a', {})] }),
      checked({ missing: [missing('a', {}), missing('b', {})] }),
    ]),
    2,
  );
});
