import assert from 'node:assert/strict';
import { chmod, cp, mkdir, readdir, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import {
  flipBit,
  forge,
  infoOf,
  makeTestMirror,
  makeTestRoot,
  makeTestShipment,
  noise,
  openSite,
  PACK,
  snapshot,
  type TestPath,
  type TestShipment,
  visiblePaths,
} from '../../test/support/shipments.ts';
import { NixferryError } from '../base/errors.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { readRoots } from '../mirror/roots.ts';
import { readTrustedKeys } from '../mirror/trusted-keys.ts';
import { baseNameOf, formatPublicKey, generateSecretKey, hashPartOf, publicKeyOf, signText } from '../nix/index.ts';
import { fingerprintWords } from './fingerprint-words.ts';
import { VOLUME_BYTES_MAX, volumeNames } from './format.ts';
import { type ImportOptions, type ImportResult, importShipment } from './import.ts';
import { importProblem } from './import-problem.ts';
import { writeInventory } from './inventory-file.ts';
import { packShipment } from './pack.ts';
import { inventoryRecords, rootLines } from './pack-inventory.ts';
import { makeManifest } from './pack-manifest.ts';
import { volumeSizesOf } from './pack-members.ts';
import { planPack } from './pack-plan.ts';
import { separateShipments } from './read-shipment.ts';

function hasCode(code: string, pattern: RegExp = /./): (error: unknown) => boolean {
  return (error) =>
    error instanceof NixferryError && error.code === code && pattern.test(`${error.message} ${error.hint}`);
}

/** Imports a shipment into a mirror of a site, with the sender's key trusted. */
function importInto(site: Mirror, shipment: TestShipment, options: Partial<ImportOptions> = {}): Promise<ImportResult> {
  return importShipment({
    mirror: site,
    directories: [shipment.folder],
    trust: [shipment.sender.publicKey],
    ...options,
  });
}

/** Two roots that share nothing, each in volumes of its own. */
const TWO_ROOTS: readonly TestPath[] = [
  { name: 'left-lib', contents: noise('left-lib', 9000) },
  { name: 'left', contents: noise('left', 9000), references: ['left-lib'] },
  { name: 'right-lib', contents: noise('right-lib', 9000) },
  { name: 'right', contents: noise('right', 9000), references: ['right-lib'] },
];
const makeTwoRoots = (): Promise<TestShipment> =>
  makeTestShipment({ paths: TWO_ROOTS, rootNames: ['left', 'right'], volumeSizeBytes: 12_000 });

// Most of the time goes into waiting for the disk: side by side they take a third.
suite('importing', { concurrency: 4 }, () => {
  test('importShipment publishes all paths with the site key added and records the roots', async () => {
    await using shipment = await makeTestShipment();
    await using site = await openSite(shipment);
    const result = await importInto(site, shipment);
    assert.equal(importProblem(result), undefined);
    assert.deepEqual([result.importedPaths, result.presentPaths, result.alreadyImported], [3, 0, false]);
    assert.deepEqual(await visiblePaths(site), ['app', 'big', 'libc']);
    const info = await site.readNarInfo(hashPartOf(infoOf(shipment.paths, 'app').storePath));
    assert.deepEqual(
      info?.signatures.map((signature) => signature.split(':')[0]),
      ['carrier-1', 'site-1'],
    );
    const [root, ...others] = await readRoots(site);
    assert.deepEqual(others, []);
    assert.deepEqual(root?.paths, makeTestRoot(shipment.paths, 'app', ['app']).paths);
    assert.deepEqual(
      [root?.complete, root?.origin, root?.shipment],
      [true, 'imported', { sender: 'carrier-1', site: 'plant-7', sequence: 1 }],
    );
    assert.deepEqual(await readTrustedKeys(site, 'sender'), [shipment.sender.publicKey]);
    assert.deepEqual(await readdir(site.layout.quarantineFolder), []);
    assert.deepEqual(await readdir(site.layout.partialFolder), []);
  });

  for (const volumeSizeBytes of [8192, 10_007, 33_333, 1_000_000]) {
    test(`importShipment manages NARs that span volumes when volumes have ${volumeSizeBytes} bytes`, async () => {
      const paths: TestPath[] = [
        { name: 'empty', contents: Buffer.alloc(0) },
        { name: 'wide', contents: noise('wide', 40_000), references: ['empty'] },
        { name: 'zeros', contents: Buffer.alloc(3_000_000), references: ['wide'] },
      ];
      await using shipment = await makeTestShipment({ paths, rootNames: ['zeros'], volumeSizeBytes });
      await using site = await openSite(shipment);
      assert.equal(importProblem(await importInto(site, shipment)), undefined);
      assert.deepEqual(await visiblePaths(site), ['empty', 'wide', 'zeros']);
    });
  }

  test('importShipment streams a NAR that is too large to be held in memory', async () => {
    const paths: TestPath[] = [{ name: 'large', contents: noise('large', 9_000_000), compression: 'none' }];
    await using shipment = await makeTestShipment({ paths, rootNames: ['large'], volumeSizeBytes: 2_000_000 });
    await using site = await openSite(shipment);
    assert.equal(importProblem(await importInto(site, shipment)), undefined);
    assert.deepEqual(await visiblePaths(site), ['large']);
    await using other = await openSite(shipment, 'other');
    await flipBit(join(shipment.folder, 'volumes/0001-003.tar'), 77_777);
    const damaged = await importInto(other, shipment);
    assert.equal(importProblem(damaged)?.code, 'damage');
    assert.deepEqual(await visiblePaths(other), []);
  });

  test('importShipment changes nothing, on the medium and in the mirror, when all is there already', async () => {
    await using shipment = await makeTestShipment();
    const medium = await snapshot(shipment.folder);
    await chmod(shipment.folder, 0o555);
    await using site = await openSite(shipment);
    await importInto(site, shipment);
    const watched = ['nar', '.nixferry/roots', '.nixferry/received', '.nixferry/keys'].map((name) =>
      join(site.directory, name),
    );
    const before = await Promise.all(watched.map(snapshot));
    const again = await importShipment({ mirror: site, directories: [shipment.folder] });
    assert.deepEqual([again.alreadyImported, again.importedPaths, again.presentPaths], [true, 0, 3]);
    assert.equal(importProblem(again), undefined);
    assert.deepEqual(await Promise.all(watched.map(snapshot)), before);
    assert.deepEqual(await snapshot(shipment.folder), medium);
  });

  test('importShipment brings a path back when the mirror has lost it since', async () => {
    await using shipment = await makeTestShipment();
    await using site = await openSite(shipment);
    await importInto(site, shipment);
    await site.storage.remove(infoOf(shipment.paths, 'libc').url);
    const again = await importInto(site, shipment);
    assert.deepEqual([again.alreadyImported, again.importedPaths], [false, 1]);
    assert.deepEqual(await visiblePaths(site), ['app', 'big', 'libc']);
  });

  test('importShipment finds the shipment when the folder above is given, and refuses a choice of several', async () => {
    await using shipment = await makeTestShipment();
    await using site = await openSite(shipment);
    const medium = join(shipment.temp, 'medium');
    assert.equal((await importInto(site, shipment, { directories: [medium] })).folder, shipment.folder);
    const roots = [makeTestRoot(shipment.paths, 'libc', ['libc'])];
    await packShipment({ ...PACK, mirror: shipment.sender, roots, to: medium });
    const both = importInto(site, shipment, { directories: [medium] });
    await assert.rejects(both, hasCode('not-a-shipment', /plant-7-0001, .*plant-7-0002/));
    const nowhere = importInto(site, shipment, { directories: [join(shipment.temp, 'nowhere')] });
    await assert.rejects(nowhere, hasCode('not-a-shipment', /nowhere/));
  });

  test('separateShipments names each shipment of a medium, the lowest number first, and a lone one as it was given', async () => {
    await using shipment = await makeTestShipment();
    const medium = join(shipment.temp, 'medium');
    assert.deepEqual(await separateShipments(medium), [[medium]]);
    const roots = [makeTestRoot(shipment.paths, 'libc', ['libc'])];
    const { folder } = await packShipment({ ...PACK, mirror: shipment.sender, roots, to: medium });
    assert.deepEqual(await separateShipments(medium), [[shipment.folder], [folder]]);
    assert.deepEqual(await separateShipments(folder), [[folder]]);
  });

  test('importShipment throws not-a-shipment when the pack was never finished', async () => {
    await using shipment = await makeTestShipment();
    await using site = await openSite(shipment);
    await rm(join(shipment.folder, 'manifest.json'));
    await writeFile(join(shipment.folder, 'UNFINISHED.json'), '{}');
    await assert.rejects(importInto(site, shipment), hasCode('not-a-shipment', /never finished/));
  });

  test('importShipment throws not-trusted with words, key and command when the sender is unknown', async () => {
    await using shipment = await makeTestShipment();
    await using site = await openSite(shipment);
    const { publicKey } = shipment.sender;
    const key = formatPublicKey(publicKey);
    const words = fingerprintWords(publicKey).join(' ');
    await assert.rejects(importInto(site, shipment, { trust: [] }), (error) => {
      assert.ok(hasCode('not-trusted')(error) && error instanceof NixferryError);
      assert.ok(error.message.includes(key) && error.message.includes(words));
      assert.ok(error.hint?.includes(`nixferry import ${shipment.folder} --trust '${key}'`));
      return true;
    });
    assert.deepEqual(await visiblePaths(site), []);
    assert.deepEqual(await readTrustedKeys(site, 'sender'), []);
  });

  test('importShipment throws not-trusted when another key has the name of a trusted one', async () => {
    await using shipment = await makeTestShipment();
    await using site = await openSite(shipment);
    const impostor = publicKeyOf(generateSecretKey('carrier-1'));
    await assert.rejects(
      importInto(site, shipment, { trust: [impostor] }),
      hasCode('not-trusted', /another key named carrier-1/),
    );
  });

  test('importShipment throws not-trusted when a trusted key signed in the name of another sender', async () => {
    await using shipment = await makeTestShipment();
    await using site = await openSite(shipment);
    const key = generateSecretKey('friend-1');
    await forge(shipment, { key });
    await assert.rejects(importInto(site, shipment, { trust: [publicKeyOf(key)] }), hasCode('not-trusted'));
  });

  test('importShipment throws not-trusted when the signature was made for another purpose', async () => {
    await using shipment = await makeTestShipment();
    await using site = await openSite(shipment);
    const bytes = await readFile(join(shipment.folder, 'manifest.json'));
    for (const purpose of ['', 'nixferry-receipt-v1\n']) {
      const message = Buffer.concat([Buffer.from(purpose), bytes]);
      await writeFile(join(shipment.folder, 'manifest.sig'), `${signText(shipment.sender.secretKey, message)}\n`);
      await assert.rejects(importInto(site, shipment), hasCode('not-trusted', /does not hold/));
    }
  });

  test('importShipment throws wrong-site when the shipment is for another site', async () => {
    await using shipment = await makeTestShipment();
    await using site = await openSite(shipment);
    await assert.rejects(importInto(site, shipment, { site: 'ship-1' }), hasCode('wrong-site', /plant-7/));
    assert.deepEqual(await readTrustedKeys(site, 'sender'), []);
    await importInto(site, shipment);
    const roots = [makeTestRoot(shipment.paths, 'app', ['app'])];
    const to = join(shipment.temp, 'medium');
    const { folder } = await packShipment({ ...PACK, site: 'ship-1', mirror: shipment.sender, roots, to });
    await assert.rejects(
      importInto(site, shipment, { directories: [folder] }),
      hasCode('wrong-site', /this is plant-7/),
    );
    await assert.rejects(
      importInto(site, shipment, { site: 'ship-1' }),
      hasCode('wrong-site', /belongs to the site plant-7/),
    );
  });

  test('importShipment throws newer-format when the sender says that it needs a newer reader', async () => {
    await using shipment = await makeTestShipment();
    await using site = await openSite(shipment);
    await forge(shipment, {
      manifest: () => ({
        format: 2,
        minReader: 2,
        sender: 'carrier-1',
        senderKey: formatPublicKey(shipment.sender.publicKey),
      }),
    });
    await assert.rejects(importInto(site, shipment), hasCode('newer-format', /format 2/));
  });

  test('importShipment reads a newer format when the sender says that this reader can', async () => {
    await using shipment = await makeTestShipment();
    await using site = await openSite(shipment);
    await forge(shipment, { manifest: (manifest) => ({ ...manifest, format: 2, minReader: 1, weather: 'fine' }) });
    assert.equal(importProblem(await importInto(site, shipment)), undefined);
  });

  test('importShipment throws newer-format when the inventory holds lines of an unknown kind', async () => {
    await using shipment = await makeTestShipment();
    await using site = await openSite(shipment);
    await forge(shipment, { records: (records) => [...records, { type: 'patch', path: 'x' }] });
    await assert.rejects(importInto(site, shipment), hasCode('newer-format', /"patch"/));
  });

  test('importShipment throws no-space with numbers when the mirror has too little room', async () => {
    await using shipment = await makeTestShipment();
    await using site = await openSite(shipment);
    const { sender } = shipment;
    const info = infoOf(shipment.paths, 'app');
    const file = join(sender.directory, `${hashPartOf(info.storePath)}.narinfo`);
    const text = await readFile(file, 'utf8');
    await writeFile(file, text.replace(/FileSize: .*/, `FileSize: ${2 ** 43}`));
    const roots = [makeTestRoot(shipment.paths, 'app', ['app'])];
    const plan = await planPack(sender, roots, () => {}, undefined);
    const sizes = volumeSizesOf(plan, VOLUME_BYTES_MAX);
    const lines = rootLines(plan);
    const records = inventoryRecords(sender, plan, lines, VOLUME_BYTES_MAX);
    const inventory = await writeInventory(join(shipment.folder, 'inventory.jsonl.zst'), records);
    const names = volumeNames(1, sizes.length);
    const volumes = sizes.map((sizeBytes, index) => ({ name: names[index] ?? '', sizeBytes, sha256: '0'.repeat(64) }));
    const parts = { ...PACK, mirror: sender, plan, lines, sequence: 1, previous: null, inventory, volumes };
    await forge(shipment, { manifest: () => makeManifest(parts) });
    await assert.rejects(importInto(site, shipment), hasCode('no-space', /needs 8\.8 TB; .* are free/));
    assert.deepEqual(await visiblePaths(site), []);
  });

  test('importShipment throws damage when the inventory is damaged or missing, and takes a good copy when there is one', async () => {
    await using shipment = await makeTestShipment();
    await using site = await openSite(shipment);
    const file = join(shipment.folder, 'inventory.jsonl.zst');
    const spare = join(shipment.temp, 'spare');
    await mkdir(spare);
    await cp(file, join(spare, 'inventory.jsonl.zst'));
    await flipBit(file, 200);
    await assert.rejects(importInto(site, shipment), hasCode('damage', /not the inventory that the sender signed/));
    const result = await importInto(site, shipment, { directories: [shipment.folder, spare] });
    assert.equal(importProblem(result), undefined);
    await rm(file);
    await using other = await openSite(shipment, 'other');
    await assert.rejects(importInto(other, shipment), hasCode('damage', /is missing/));
  });

  test('importShipment throws not-trusted when any byte of manifest or signature was changed', async () => {
    for (const name of ['manifest.json', 'manifest.sig']) {
      await using shipment = await makeTestShipment();
      await using site = await openSite(shipment);
      const file = join(shipment.folder, name);
      const good = await readFile(file);
      for (let byte = 0; byte < good.length - 1; byte += 41) {
        await flipBit(file, byte);
        await assert.rejects(importInto(site, shipment), hasCode('not-trusted'), `byte ${byte} of ${name}`);
        await writeFile(file, good);
      }
      await importInto(site, shipment);
    }
  });

  test('importShipment publishes nothing unverified and names volume and file when a bit of a volume was turned', async () => {
    await using shipment = await makeTestShipment();
    for (const [index, { name, sizeBytes }] of shipment.result.manifest.volumes.entries()) {
      for (const byte of [0, 4000, sizeBytes - 1]) {
        await using site = await openSite(shipment, `site-${index}-${byte}`);
        const file = join(shipment.folder, 'volumes', name);
        await flipBit(file, byte);
        const problem = importProblem(await importInto(site, shipment));
        await flipBit(file, byte);
        assert.ok(hasCode('damage', new RegExp(name))(problem), `byte ${byte} of ${name}: ${problem?.message}`);
        await visiblePaths(site);
      }
    }
  });

  test('importShipment names only the damaged ones when a NAR spans several volumes', async () => {
    await using shipment = await makeTestShipment();
    const names = shipment.result.manifest.volumes.map(({ name }) => name);
    const file = (index: number): string => join(shipment.folder, 'volumes', names[index] ?? '');
    // Volumes 1 to 4, counted from 0, hold a part of `big` each.
    for (const damaged of [[1], [3], [2, 4]]) {
      for (const index of damaged) await flipBit(file(index), 3000);
      await using site = await openSite(shipment, `site-${damaged.join()}`);
      const { failures } = await importInto(site, shipment);
      for (const index of damaged) await flipBit(file(index), 3000);
      const volumes = failures.filter(({ path }) => path?.endsWith('-big')).map((failure) => failure.volumes);
      assert.deepEqual(volumes, [damaged.map((index) => names[index]).join(' and ')]);
    }
  });

  test('importShipment puts a NAR together from the good copies when each folder has another volume damaged', async () => {
    await using shipment = await makeTestShipment();
    await using site = await openSite(shipment);
    const spare = join(shipment.temp, 'spare');
    await cp(join(shipment.folder, 'volumes'), spare, { recursive: true });
    await flipBit(join(spare, '0001-003.tar'), 3000);
    await flipBit(join(shipment.folder, 'volumes/0001-004.tar'), 3000);
    const result = await importInto(site, shipment, { directories: [shipment.folder, spare] });
    assert.equal(importProblem(result), undefined);
    assert.deepEqual(await visiblePaths(site), ['app', 'big', 'libc']);
  });

  test('importShipment fills the gap when a good copy comes after a damaged one', async () => {
    await using shipment = await makeTestShipment();
    await using site = await openSite(shipment);
    const file = join(shipment.folder, 'volumes/0001-001.tar');
    await flipBit(file, 5000);
    assert.equal(importProblem(await importInto(site, shipment))?.code, 'damage');
    assert.deepEqual(await visiblePaths(site), []);
    await flipBit(file, 5000);
    assert.equal(importProblem(await importInto(site, shipment)), undefined);
    assert.deepEqual(await visiblePaths(site), ['app', 'big', 'libc']);
  });

  test('importShipment notes damage when a volume is cut off or has something appended', async () => {
    await using shipment = await makeTestShipment();
    const last = shipment.result.manifest.volumes.at(-1);
    assert.ok(last);
    const file = join(shipment.folder, 'volumes', last.name);
    const good = await readFile(file);
    for (const sizeBytes of [0, 1, 512, last.sizeBytes - 1]) {
      await using site = await openSite(shipment, `cut-${sizeBytes}`);
      await truncate(file, sizeBytes);
      const problem = importProblem(await importInto(site, shipment));
      await writeFile(file, good);
      assert.ok(hasCode('damage', new RegExp(`${last.name}.*has ${sizeBytes} bytes`))(problem), problem?.message);
      await visiblePaths(site);
    }
    await using site = await openSite(shipment, 'longer');
    await writeFile(file, Buffer.concat([good, Buffer.alloc(512)]));
    assert.ok(hasCode('damage', /bytes, the manifest says/)(importProblem(await importInto(site, shipment))));
  });

  test('importShipment imports complete roots and names the rest when a volume is missing', async () => {
    await using shipment = await makeTwoRoots();
    await using site = await openSite(shipment);
    const volumes = shipment.result.manifest.volumes.map(({ name }) => join(shipment.folder, 'volumes', name));
    const [, second = ''] = volumes;
    const aside = join(shipment.temp, 'aside');
    await rename(second, aside);
    const result = await importInto(site, shipment);
    const problem = importProblem(result);
    assert.ok(
      hasCode('import-partial', /missing 0001-002\.tar; 1 of 2 roots are complete, not left/)(problem),
      problem?.message,
    );
    assert.deepEqual(await visiblePaths(site), ['right', 'right-lib']);
    const complete = (await readRoots(site)).map((root) => [root.name, root.complete]);
    assert.deepEqual(complete, [
      ['left', false],
      ['right', true],
    ]);
    await rename(aside, second);
    const rest = await importInto(site, shipment);
    assert.equal(importProblem(rest), undefined);
    assert.deepEqual([rest.importedPaths, rest.presentPaths], [2, 2]);
    assert.ok((await readRoots(site)).every((root) => root.complete));
  });

  test('importShipment finds volumes in several folders, and a good copy beside a damaged one', async () => {
    await using shipment = await makeTwoRoots();
    await using site = await openSite(shipment);
    const [first = '', second = '', third = ''] = shipment.result.manifest.volumes.map(({ name }) => name);
    const volumes = join(shipment.folder, 'volumes');
    const [left, right] = [join(shipment.temp, 'a'), join(shipment.temp, 'b')];
    await mkdir(left);
    await mkdir(join(right, 'volumes'), { recursive: true });
    await rename(join(volumes, first), join(left, first));
    await cp(join(volumes, second), join(right, 'volumes', second));
    await flipBit(join(volumes, second), 2000);
    await cp(join(volumes, third), join(left, third));
    await truncate(join(volumes, third), 1000);
    const result = await importInto(site, shipment, { directories: [shipment.folder, left, right] });
    assert.equal(importProblem(result), undefined);
    assert.deepEqual(await visiblePaths(site), ['left', 'left-lib', 'right', 'right-lib']);
  });

  test('importShipment keeps what a later shipment said of a root when an older one comes after it', async () => {
    await using shipment = await makeTestShipment();
    await using site = await openSite(shipment);
    const request = { name: 'tool', request: 'tool', id: 'tool' };
    const to = join(shipment.temp, 'medium');
    const pack = (name: string) =>
      packShipment({
        ...PACK,
        mirror: shipment.sender,
        roots: [{ ...makeTestRoot(shipment.paths, name, [name]), ...request }],
        to,
      });
    const older = await pack('libc');
    const newer = await pack('app');
    await importInto(site, shipment, { directories: [newer.folder] });
    const before = await readRoots(site);
    const late = await importInto(site, shipment, { directories: [older.folder] });
    assert.equal(importProblem(late), undefined);
    assert.deepEqual(await readRoots(site), before);
    assert.deepEqual(
      before.map((root) => [root.name, root.shipment?.sequence]),
      [['tool', 3]],
    );
  });

  test('importShipment wants the proof of origin of each path when it is asked to', async () => {
    await using shipment = await makeTestShipment();
    await using site = await openSite(shipment);
    const bare = await importInto(site, shipment, { requireOriginSignature: true });
    assert.ok(hasCode('not-trusted', /no proof of origin/)(importProblem(bare)));
    assert.deepEqual(await visiblePaths(site), []);
    const originKeys = [shipment.sender.publicKey];
    const proven = await importInto(site, shipment, { requireOriginSignature: true, originKeys });
    assert.equal(importProblem(proven), undefined);
  });

  test('importShipment leaves a path as it is when the mirror holds another build of it', async () => {
    await using shipment = await makeTestShipment();
    await using site = await makeTestMirror(join(shipment.temp, 'site'), [
      { name: 'libc', contents: noise('other', 100) },
    ]);
    const own = await site.mirror.readNarInfo(hashPartOf(infoOf(site.paths, 'libc').storePath));
    const result = await importInto(site.mirror, shipment);
    assert.equal(importProblem(result), undefined);
    assert.deepEqual(result.otherBuilds, [baseNameOf(infoOf(shipment.paths, 'libc').storePath)]);
    assert.deepEqual(await site.mirror.readNarInfo(hashPartOf(infoOf(site.paths, 'libc').storePath)), own);
  });

  test('importShipment finishes when an earlier import was stopped in the middle', async () => {
    await using shipment = await makeTestShipment();
    await using site = await openSite(shipment);
    for (const stopAfter of [1, 3, 5, 8]) {
      const stop = new AbortController();
      let events = 0;
      const onProgress = (): void => {
        if (++events === stopAfter) stop.abort();
      };
      await assert.rejects(importInto(site, shipment, { onProgress, signal: stop.signal }), { name: 'AbortError' });
      await visiblePaths(site);
    }
    assert.equal(importProblem(await importInto(site, shipment)), undefined);
    assert.deepEqual(await visiblePaths(site), ['app', 'big', 'libc']);
  });
});
