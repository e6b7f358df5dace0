import assert from 'node:assert/strict';
import { cp, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import {
  flipBit,
  infoOf,
  makeTestMirror,
  makeTestShipment,
  noise,
  openSite,
  PACK,
  type TestPath,
  type TestShipment,
  visiblePaths,
} from '../../test/support/shipments.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { baseNameOf, formatRealisationPath, hashBytes, hashPartOf, type NarInfo } from '../nix/index.ts';
import { type ImportResult, importShipment } from './import.ts';
import { importProblem } from './import-problem.ts';
import { lostShipments } from './lost-shipments.ts';
import { packShipment } from './pack.ts';

// Realisations and listings: no root is incomplete without them, and yet the site is to get them all.

const PATHS: readonly TestPath[] = [
  { name: 'left', contents: noise('left', 6000) },
  { name: 'right', contents: noise('right', 6000) },
];

/** So large that hardly anything else has room in its volume. */
const PADDING = 'x'.repeat(10_000);

function listingOf(paths: ReadonlyMap<string, NarInfo>, name: string) {
  return {
    name: `${hashPartOf(infoOf(paths, name).storePath)}.ls`,
    bytes: JSON.stringify({ version: 1, root: { type: 'regular', size: 6000 }, padding: PADDING }),
  };
}

function realisationOf(paths: ReadonlyMap<string, NarInfo>, name: string) {
  const key = {
    layout: 'realisations',
    derivationHash: hashBytes('sha256', name),
    outputName: 'out',
  } as const;
  const file = formatRealisationPath(key);
  const id = file.slice('realisations/'.length, -'.doi'.length);
  const outPath = baseNameOf(infoOf(paths, name).storePath);
  return { name: file, bytes: JSON.stringify({ id, outPath, signatures: [], padding: PADDING }) };
}

function filesOf(paths: ReadonlyMap<string, NarInfo>) {
  return [listingOf(paths, 'left'), realisationOf(paths, 'left'), realisationOf(paths, 'right')];
}

interface Side extends AsyncDisposable {
  readonly shipment: TestShipment;
  readonly site: Mirror;
  readonly files: ReturnType<typeof filesOf>;
  /** Imports from a folder that holds nothing but the manifest, the inventory and these volumes. */
  importVolumes(...indexes: readonly number[]): Promise<ImportResult>;
}

/** Volume 0: left; 1: its listing; 2: right; 3 and 4: a realisation each, that of which path says `files`. */
async function openSide(): Promise<Side> {
  const stack = new AsyncDisposableStack();
  const shipment = stack.use(
    await makeTestShipment({ paths: PATHS, rootNames: ['left', 'right'], volumeSizeBytes: 12_288, files: filesOf }),
  );
  const site = stack.use(await openSite(shipment));
  const { volumes } = shipment.result.manifest;
  assert.equal(volumes.length, 5);
  let imports = 0;
  return {
    shipment,
    site,
    files: filesOf(shipment.paths).sort((a, b) => (a.name < b.name ? -1 : 1)),
    async importVolumes(...indexes) {
      const medium = join(shipment.temp, `medium-${imports++}`);
      for (const name of ['manifest.json', 'manifest.sig', 'inventory.jsonl.zst']) {
        await cp(join(shipment.folder, name), join(medium, name));
      }
      for (const index of indexes) {
        const name = `volumes/${volumes[index]?.name}`;
        await cp(join(shipment.folder, name), join(medium, name));
      }
      return importShipment({ mirror: site, directories: [medium], trust: [shipment.sender.publicKey] });
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

async function assertAllHere({ site, files }: Side): Promise<void> {
  assert.deepEqual(await visiblePaths(site), ['left', 'right']);
  for (const { name, bytes } of files) assert.equal((await site.storage.read(name))?.toString(), bytes, name);
  assert.deepEqual(await readdir(site.layout.partialFolder), []);
}

suite('importing small files', { concurrency: 4 }, () => {
  test('importShipment puts realisations and listings where Nix looks for them', async () => {
    await using side = await openSide();
    const result = await side.importVolumes(0, 1, 2, 3, 4);
    assert.equal(importProblem(result), undefined);
    await assertAllHere(side);
    assert.equal((await side.importVolumes()).alreadyImported, true);
  });

  for (const lost of [1, 3, 4]) {
    test(`importShipment names volume ${lost} when nothing but a small file is in it, and takes that from it later`, async () => {
      await using side = await openSide();
      const problem = importProblem(await side.importVolumes(...[0, 1, 2, 3, 4].filter((index) => index !== lost)));
      assert.equal(problem?.code, 'import-partial');
      assert.equal(problem.exitCode, 10);
      const name = lost === 1 ? `${hashPartOf(infoOf(side.shipment.paths, 'left').storePath)}.ls` : 'realisations/';
      assert.match(
        problem.message,
        new RegExp(`missing 0001-00${lost + 1}\\.tar; 2 of 2 roots are complete, but .*${name}`),
      );
      assert.match(problem.hint ?? '', /pack --site plant-7 --lost 1 /);
      const again = importProblem(await side.importVolumes(0));
      assert.equal(again?.message, problem.message);
      const rest = await side.importVolumes(lost);
      assert.equal(importProblem(rest), undefined);
      assert.equal(rest.importedPaths, 0);
      await assertAllHere(side);
      assert.equal((await side.importVolumes()).alreadyImported, true);
    });
  }

  test('importShipment wants no volume twice when they come one by one, in whatever order', async () => {
    for (const order of [
      [4, 3, 2, 1, 0],
      [1, 4, 0, 3, 2],
    ]) {
      await using side = await openSide();
      const codes: (string | undefined)[] = [];
      for (const index of order) codes.push(importProblem(await side.importVolumes(index))?.code);
      assert.deepEqual(codes, [...Array<string>(4).fill('import-partial'), undefined], order.join());
      await assertAllHere(side);
    }
  });

  test('importShipment reads a small file again when what was waiting of it is damaged', async () => {
    await using side = await openSide();
    await side.importVolumes(1);
    const [waiting = ''] = await readdir(side.site.layout.partialFolder);
    await flipBit(join(side.site.layout.partialFolder, waiting), 50);
    assert.match(importProblem(await side.importVolumes(0, 2, 3, 4))?.message ?? '', /missing 0001-002\.tar; 2 of 2/);
    assert.equal(importProblem(await side.importVolumes(1)), undefined);
    await assertAllHere(side);
  });

  test('importShipment takes a small file from a good copy when it was damaged at first', async () => {
    await using side = await openSide();
    const file = join(side.shipment.folder, 'volumes/0001-002.tar');
    await flipBit(file, 700);
    const problem = importProblem(await side.importVolumes(0, 1, 2, 3, 4));
    assert.equal(problem?.code, 'damage');
    assert.match(problem.message, /0001-002\.tar: .*\.ls: .* not what the sender signed/);
    await flipBit(file, 700);
    assert.equal(importProblem(await side.importVolumes(1)), undefined);
    await assertAllHere(side);
  });

  test('importShipment brings a small file back when the mirror has lost it since, and leaves one of other contents', async () => {
    await using side = await openSide();
    await side.importVolumes(0, 1, 2, 3, 4);
    const [first, second] = side.files;
    assert.ok(first !== undefined && second !== undefined);
    await side.site.storage.remove(first.name);
    await side.site.storage.write(second.name, 'the own one');
    assert.equal(importProblem(await side.importVolumes(1, 3, 4)), undefined);
    assert.equal((await side.site.storage.read(first.name))?.toString(), first.bytes);
    assert.equal((await side.site.storage.read(second.name))?.toString(), 'the own one');
  });

  test('importShipment leaves the listing out when the mirror has another build of the path', async () => {
    await using shipment = await makeTestShipment({ paths: PATHS, rootNames: ['left', 'right'], files: filesOf });
    await using site = await makeTestMirror(join(shipment.temp, 'site'), [
      { name: 'left', contents: noise('own', 90) },
    ]);
    const options = { mirror: site.mirror, directories: [shipment.folder], trust: [shipment.sender.publicKey] };
    assert.equal(importProblem(await importShipment(options)), undefined);
    const names = await readdir(site.mirror.directory);
    assert.deepEqual(
      [names.filter((name) => name.endsWith('.ls')), await readdir(site.mirror.layout.partialFolder)],
      [[], []],
    );
    assert.equal((await importShipment(options)).alreadyImported, true);
  });

  test('packShipment sends small files again when a shipment was lost, and the earlier one is whole then', async () => {
    await using side = await openSide();
    const { shipment, site } = side;
    await side.importVolumes(0, 2, 3, 4);
    const { roots, basis } = await lostShipments(shipment.sender, 'plant-7', [1]);
    const { folder } = await packShipment({
      ...PACK,
      mirror: shipment.sender,
      roots,
      basis,
      to: join(shipment.temp, 'again'),
    });
    const result = await importShipment({ mirror: site, directories: [folder] });
    assert.equal(importProblem(result), undefined);
    assert.deepEqual(
      result.healed.map(({ sequence, complete }) => [sequence, complete]),
      [[1, true]],
    );
    await assertAllHere(side);
  });
});
