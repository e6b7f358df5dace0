import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  infoOf,
  makeTempFolder,
  makeTestMirror,
  makeTestRoot,
  noise,
  PACK,
  type TestMirror,
  type TestPath,
} from '../../../test/support/shipments.ts';
import type { Mirror } from '../../mirror/mirror.ts';
import { openMirror } from '../../mirror/mirror.ts';
import { baseNameOf } from '../../nix/index.ts';
import { acknowledgeReceipt } from '../acknowledge.ts';
import { chooseBasis } from '../choose-basis.ts';
import { importShipment } from '../import.ts';
import { packShipment } from '../pack.ts';
import { NO_BASIS, type PackBasis } from '../pack-basis.ts';
import { renewReceipt } from '../renew-receipt.ts';
import { heldAgainst, heldBefore, heldBy } from './held-before.ts';
import { describeShipment } from './shipment-description.ts';
import { diffHoldings } from './shipment-diff.ts';
import { showPage } from './show-page.ts';
import { showText } from './show-text.ts';
import { stageShipment } from './staged-shipment.ts';

const PATHS: readonly TestPath[] = [
  { name: 'libc-1', contents: noise('libc', 500) },
  { name: 'app-1', contents: noise('app 1', 500), references: ['libc-1'] },
  { name: 'app-2', contents: noise('app 2', 500), references: ['libc-1'] },
  { name: 'app-3', contents: noise('app 3', 500), references: ['libc-1'] },
  { name: 'other-1', contents: noise('other', 500) },
];

/** Two shipments of the root `app` in its versions 1 and 2; the second leaves out what `basis` says is there. */
async function shipTwice(made: TestMirror, folder: string, basis: PackBasis): Promise<[string, string]> {
  const common = { ...PACK, mirror: made.mirror };
  const first = await packShipment({
    ...common,
    to: join(folder, 'first'),
    roots: [makeTestRoot(made.paths, 'app', ['app-1']), makeTestRoot(made.paths, 'other', ['other-1'])],
  });
  const roots = [makeTestRoot(made.paths, 'app', ['app-2'])];
  const second = await packShipment({ ...common, to: join(folder, 'second'), roots, basis });
  return [first.folder, second.folder];
}

function sinceFirst(made: TestMirror): PackBasis {
  const libc = infoOf(made.paths, 'libc-1');
  const held = new Map([[baseNameOf(libc.storePath), 1]]);
  return { ...NO_BASIS, stated: { type: 'sequence', sequence: 1 }, held };
}

async function changes(folder: string, mirror: Mirror | undefined, against?: string): Promise<string[]> {
  await using staged = await stageShipment([folder]);
  const options = { staged, after: await heldBy(staged), mirror };
  const { paths } = await (against === undefined ? heldBefore(options) : heldAgainst(against, options));
  const { packages, unchangedPackages } = diffHoldings(paths, options.after);
  return [...packages.map(({ kind, name }) => `${kind} ${name}`), `unchanged ${unchangedPackages}`];
}

for (const [what, basisOf] of [
  ['a whole shipment', () => NO_BASIS],
  ['a delta', sinceFirst],
] as const) {
  test(`heldBefore gives the last version of the same root when the sender compares ${what}`, async () => {
    await using temp = await makeTempFolder();
    await using made = await makeTestMirror(join(temp.folder, 'sender'), PATHS);
    const [first, second] = await shipTwice(made, temp.folder, basisOf(made));
    assert.deepEqual(await changes(second, made.mirror), ['changed app', 'unchanged 1']);
    assert.deepEqual(await changes(first, made.mirror), ['added app', 'added libc', 'added other', 'unchanged 0']);
  });

  test(`heldBefore gives what the site has, before and after it imports ${what}`, async () => {
    await using temp = await makeTempFolder();
    await using made = await makeTestMirror(join(temp.folder, 'sender'), PATHS);
    const [first, second] = await shipTwice(made, temp.folder, basisOf(made));
    await using site = await openMirror(join(temp.folder, 'site'), { access: 'write', create: true });
    await importShipment({ mirror: site, directories: [first], trust: [made.mirror.publicKey] });
    assert.deepEqual(await changes(second, site), ['changed app', 'unchanged 1']);
    await importShipment({ mirror: site, directories: [second] });
    assert.deepEqual(await changes(second, site), ['changed app', 'unchanged 1'], 'as it was before');
  });
}

test('heldBefore goes by the receipt that the shipment builds on when one in between never arrived', async () => {
  await using temp = await makeTempFolder();
  await using made = await makeTestMirror(join(temp.folder, 'sender'), PATHS);
  const { mirror } = made;
  const [first] = await shipTwice(made, temp.folder, NO_BASIS);
  await using site = await openMirror(join(temp.folder, 'site'), { access: 'write', create: true });
  await importShipment({ mirror: site, directories: [first], trust: [mirror.publicKey] });
  const receipt = join(temp.folder, 'receipt.nixferry');
  await writeFile(receipt, (await renewReceipt(site)).bytes);
  await acknowledgeReceipt({ mirror, receipt, trust: [site.publicKey] });
  const roots = [makeTestRoot(made.paths, 'app', ['app-3'])];
  const basis = await chooseBasis(mirror, PACK.site, roots, { type: 'acknowledged' });
  const third = await packShipment({ ...PACK, mirror, to: join(temp.folder, 'third'), roots, basis });

  await using staged = await stageShipment([third.folder]);
  const options = { staged, after: await heldBy(staged), mirror };
  const { paths, words } = await heldBefore(options);
  assert.deepEqual(
    diffHoldings(paths, options.after).packages.map(({ name, oldVersions, newVersions }) => [
      name,
      oldVersions,
      newVersions,
    ]),
    [['app', ['1'], ['3']]],
  );
  assert.match(words, /shipments up to number 1$/);
});

test('heldAgainst compares with all of another shipment, or with a mirror', async () => {
  await using temp = await makeTempFolder();
  await using made = await makeTestMirror(join(temp.folder, 'sender'), PATHS);
  const [first, second] = await shipTwice(made, temp.folder, NO_BASIS);
  assert.deepEqual(await changes(second, undefined, first), ['changed app', 'removed other', 'unchanged 1']);
  assert.deepEqual(await changes(second, undefined, made.mirror.directory), ['unchanged 2']);
  await assert.rejects(changes(second, undefined), { code: 'usage' });
  await assert.rejects(changes(second, undefined, temp.folder), { code: 'not-a-shipment' });
});

test('describeShipment names the paths that a delta needs, apart from those that it carries', async () => {
  await using temp = await makeTempFolder();
  await using made = await makeTestMirror(join(temp.folder, 'sender'), PATHS);
  const [, second] = await shipTwice(made, temp.folder, sinceFirst(made));
  await using staged = await stageShipment([second]);
  const description = await describeShipment({ staged, trusted: [] });
  assert.deepEqual(
    description.packages.map(({ name, version }) => [name, version]),
    [['app', '2']],
  );
  assert.deepEqual(
    description.needs.map(({ path, sequence }) => [path.slice(33), sequence]),
    [['libc-1', 1]],
  );
  const text = [...showText(description, true)].join('');
  assert.match(text, /builds on +all shipments up to 1, which the sender takes to have arrived\n/);
  assert.match(text, /\n1 path needed from before\n {2}[0-9a-z]{32}-libc-1 {2}sha256:[0-9a-f]{64} {2}of shipment 1\n/);
  assert.match([...showPage(description, 'nixferry')].join(''), /1 path needed from before<\/h2>/);
});
