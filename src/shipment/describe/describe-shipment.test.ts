import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { Spec, Validation } from '@cyclonedx/cyclonedx-library';
import {
  forge,
  makeTestShipment,
  noise,
  snapshot,
  type TestPath,
  type TestShipment,
} from '../../../test/support/shipments.ts';
import { NixferryError } from '../../base/errors.ts';
import { cycloneDx } from './cyclonedx.ts';
import {
  type DescribedPath,
  describeShipment,
  groupPackages,
  type ShipmentDescription,
} from './shipment-description.ts';
import { showPage } from './show-page.ts';
import { showText } from './show-text.ts';
import { stageShipment } from './staged-shipment.ts';

const PATHS: readonly TestPath[] = [
  { name: 'glibc-2.36', contents: noise('glibc', 5000) },
  { name: 'hello-2.12', contents: noise('hello', 3000), references: ['glibc-2.36'] },
];
const HOSTILE = '<script>alert(1)</script>"\'&\u001b[31m\u202e';

async function describe(made: TestShipment): Promise<ShipmentDescription> {
  await using staged = await stageShipment([made.folder]);
  return await describeShipment({ staged, trusted: [] });
}

async function bill(made: TestShipment): Promise<string> {
  await using staged = await stageShipment([made.folder]);
  const description = await describeShipment({ staged, trusted: [] });
  const pieces = await Array.fromAsync(
    cycloneDx(description, () => staged.readInventory(), { name: 'nixferry', version: '1' }),
  );
  return pieces.join('');
}

function describedPath(name: string, version: string, digit: string): DescribedPath {
  const path = `${digit.repeat(32)}-${name}-${version}`;
  return { path, name, version, output: undefined, narHash: '', narSizeBytes: 10, facts: undefined };
}

/** Renames the root to something hostile, in inventory and manifest alike. */
async function makeHostile(made: TestShipment): Promise<void> {
  await forge(made, {
    records: (records) => records.map((record) => (record.type === 'root' ? { ...record, request: HOSTILE } : record)),
    manifest: (manifest) => ({
      ...manifest,
      generator: HOSTILE,
      roots: manifest.roots.map((root) => ({ ...root, request: HOSTILE })),
    }),
  });
}

test('describeShipment names packages, versions and roots, and leaves the medium as it is', async () => {
  await using made = await makeTestShipment({ paths: PATHS, rootNames: ['hello-2.12'] });
  const before = await snapshot(made.folder);
  const { packages, roots, missingVolumes } = await describe(made);
  assert.deepEqual(
    packages.map(({ name, version, paths }) => [name, version, paths.length]),
    [
      ['glibc', '2.36', 1],
      ['hello', '2.12', 1],
    ],
  );
  assert.deepEqual(
    roots.map(({ name, pathCount, rootPaths }) => [name, pathCount, rootPaths[0]?.version]),
    [['hello-2.12', 2, '2.12']],
  );
  assert.deepEqual(missingVolumes, []);
  assert.deepEqual(await snapshot(made.folder), before);
});

test('describeShipment throws damage when the signed inventory lies', async () => {
  await using made = await makeTestShipment({ paths: PATHS, rootNames: ['hello-2.12'] });
  await forge(made, {
    records: (records) => records.map((record) => (record.type === 'path' ? { ...record, narSizeBytes: 1 } : record)),
  });
  await assert.rejects(describe(made), (error) => error instanceof NixferryError && error.code === 'damage');
});

test('showText is printable in every line when the sender chose hostile texts', async () => {
  await using made = await makeTestShipment({ paths: PATHS, rootNames: ['hello-2.12'] });
  await makeHostile(made);
  const text = [...showText(await describe(made), true)].join('');
  assert.match(text, /asked for as <script>.*\\u\{1b\}\[31m\\u\{202e\}/);
  assert.doesNotMatch(text, /[^\n\P{C}]/u);
  assert.match(text, /NOT VERIFIED/);
  assert.match(text, /\n {6}[0-9a-z]{32}-hello-2\.12 {2}sha256:[0-9a-f]{64}\n/);
});

test('showPage holds no markup of the sender, no script and nothing to load', async () => {
  await using made = await makeTestShipment({ paths: PATHS, rootNames: ['hello-2.12'] });
  await makeHostile(made);
  const html = [...showPage(await describe(made), HOSTILE)].join('');
  assert.doesNotMatch(html, /<script|\son[a-z]+=|javascript:|(src|href)="(?!#)|url\(|@import/i);
  assert.match(html, /&lt;script&gt;alert\(1\)&lt;\/script&gt;&quot;&#39;&amp;\\u\{1b\}\[31m\\u\{202e\}/);
  assert.doesNotMatch(html, /[^\n\P{C}]/u);
  assert.match(html, /default-src 'none'/);
});

test('cycloneDx writes what the official schema of 1.6 accepts, with references as dependencies', async () => {
  await using made = await makeTestShipment({ paths: PATHS, rootNames: ['hello-2.12'] });
  await makeHostile(made);
  const text = await bill(made);
  assert.equal(await new Validation.JsonStrictValidator(Spec.Version.v1dot6).validate(text), null);
  assert.equal(await bill(made), text, 'the same bytes again');
  const bom = JSON.parse(text) as {
    components: { name: string; version: string; 'bom-ref': string }[];
    dependencies: { ref: string; dependsOn?: string[] }[];
  };
  assert.deepEqual(
    bom.components.map(({ name, version }) => [name, version]),
    [
      ['glibc', '2.36'],
      ['hello', '2.12'],
    ],
  );
  const [glibc, hello] = bom.components.map((component) => component['bom-ref']);
  assert.deepEqual(bom.dependencies, [
    { ref: 'shipment', dependsOn: [hello] },
    { ref: glibc },
    { ref: hello, dependsOn: [glibc] },
  ]);
});

test('stageShipment throws not-a-shipment when the folder holds none', async () => {
  await using made = await makeTestShipment();
  await assert.rejects(
    stageShipment([join(made.temp, 'sender')]),
    (error) => error instanceof NixferryError && error.code === 'not-a-shipment',
  );
});

test('groupPackages gathers outputs of a package and sorts as people do', () => {
  const groups = groupPackages([
    describedPath('b', '10', '0'),
    describedPath('b', '9', '1'),
    describedPath('A', '1', '2'),
    describedPath('b', '9', '3'),
  ]);
  assert.deepEqual(
    groups.map(({ name, version, paths, narSizeBytes }) => [name, version, paths.length, narSizeBytes]),
    [
      ['A', '1', 1, 10],
      ['b', '9', 2, 20],
      ['b', '10', 1, 10],
    ],
  );
});
