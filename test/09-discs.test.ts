// Discs: laid out, burnt, imported in any order, one of them missing.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cp, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { NixferryError } from '../src/base/errors.ts';
import type { Mirror } from '../src/mirror/mirror.ts';
import { type ImportResult, importShipment } from '../src/shipment/import.ts';
import { importProblem } from '../src/shipment/import-problem.ts';
import { packShipment } from '../src/shipment/pack.ts';
import {
  flipBit,
  makeTempFolder,
  makeTestMirror,
  makeTestRoot,
  noise,
  openSite,
  PACK,
  type TestPath,
  type TestShipment,
  visiblePaths,
} from './support/shipments.ts';

/** Room for half a megabyte of volumes on each. */
const DISC_BYTES = 4 * 1024 ** 2 + 500_000;

/** Two roots in a row of paths each; `wide` is larger than a volume, `huge` larger than a disc. */
const PATHS: readonly TestPath[] = [
  ...row('left', 6, 60_000),
  { name: 'wide', contents: noise('wide', 200_000), references: ['left-5'] },
  ...row('right', 6, 60_000),
];
const ALL_NAMES = PATHS.map(({ name }) => name).sort();

function row(name: string, count: number, sizeBytes: number): TestPath[] {
  return Array.from({ length: count }, (_, index) => ({
    name: `${name}-${index}`,
    contents: noise(`${name}-${index}`, sizeBytes),
    references: index === 0 ? [] : [`${name}-${index - 1}`],
  }));
}

interface OnDiscs extends TestShipment {
  /** The folders of the discs. */
  readonly discs: readonly string[];
}

async function makeDiscs(paths = PATHS, rootNames: readonly string[] = ['wide', 'right-5']): Promise<OnDiscs> {
  const temp = await makeTempFolder();
  const sender = await makeTestMirror(join(temp.folder, 'sender'), paths);
  const roots = rootNames.map((name) => makeTestRoot(sender.paths, name, [name]));
  const to = join(temp.folder, 'medium');
  const options = { ...PACK, mirror: sender.mirror, roots, to, volumeSizeBytes: 50_000, discBytes: DISC_BYTES };
  const result = await packShipment(options);
  return {
    temp: temp.folder,
    sender: sender.mirror,
    paths: sender.paths,
    folder: result.folder,
    result,
    discs: result.folders.map((name) => join(result.folder, name)),
    async [Symbol.asyncDispose]() {
      await sender.mirror.close();
      await temp[Symbol.asyncDispose]();
    },
  };
}

function importDiscs(site: Mirror, shipment: OnDiscs, directories: readonly string[]): Promise<ImportResult> {
  return importShipment({ mirror: site, directories, trust: [shipment.sender.publicKey] });
}

function discOf(shipment: OnDiscs, number: number): string {
  const disc = shipment.discs[number - 1];
  assert.ok(disc !== undefined, `there is no disc ${number}`);
  return disc;
}

suite('discs', { concurrency: 4 }, () => {
  test('packShipment puts manifest, signature, inventory, read-me and sums onto every disc', async () => {
    await using shipment = await makeDiscs();
    assert.ok(shipment.discs.length >= 2);
    assert.deepEqual(
      await readdir(shipment.folder),
      shipment.discs.map((disc) => disc.slice(-'disc-01'.length)),
    );
    const manifest = await readFile(join(discOf(shipment, 1), 'manifest.json'));
    for (const [index, disc] of shipment.discs.entries()) {
      execFileSync('sha256sum', ['--check', '--strict', '--quiet', 'SHA256SUMS'], { cwd: disc });
      assert.deepEqual(await readFile(join(disc, 'manifest.json')), manifest);
      const names = [
        'READ-ME-FIRST.txt',
        'SHA256SUMS',
        'inventory.jsonl.zst',
        'manifest.json',
        'manifest.sig',
        'volumes',
      ];
      assert.deepEqual((await readdir(disc)).sort(), names);
      const readMe = await readFile(join(disc, 'READ-ME-FIRST.txt'), 'ascii');
      assert.match(
        readMe,
        new RegExp(`^Shipment 0001 for the site plant-7, disc ${index + 1} of ${shipment.discs.length}\n`),
      );
      assert.match(readMe, new RegExp(`disc ${index + 1} .*<- this one`));
      assert.match(readMe, /\n {2}- wide \(scope run; 7 paths, .*\n {6}wide\n/);
      assert.ok(readMe.split('\n').every((line) => line.length <= 100));
      const volumes = shipment.result.manifest.volumes.filter((volume) => volume.disc === index + 1);
      assert.deepEqual(
        (await readdir(join(disc, 'volumes'))).sort(),
        volumes.map(({ name }) => name),
      );
    }
  });

  test('packShipment puts tools onto the first disc alone', async () => {
    await using shipment = await makeDiscs();
    const folder = join(shipment.temp, 'tools');
    await mkdir(folder);
    await writeFile(join(folder, 'nixferry'), '#!/bin/sh\n');
    const sha256 = execFileSync('sha256sum', [join(folder, 'nixferry')], { encoding: 'utf8' }).slice(0, 64);
    const tools = { folder, files: [{ name: 'nixferry', sizeBytes: 10, sha256 }] };
    const roots = [makeTestRoot(shipment.paths, 'wide', ['wide', 'right-5'])];
    const to = join(shipment.temp, 'with-tools');
    const options = {
      ...PACK,
      mirror: shipment.sender,
      roots,
      to,
      discBytes: DISC_BYTES,
      volumeSizeBytes: 50_000,
      tools,
    };
    const { folder: made, folders } = await packShipment(options);
    const having = [];
    for (const name of folders) if ((await readdir(join(made, name))).includes('tools')) having.push(name);
    assert.deepEqual(having, ['disc-01']);
    assert.match(
      await readFile(join(made, 'disc-02/READ-ME-FIRST.txt'), 'ascii'),
      /mkdir -p \/opt\/nixferry\n *cp -r .*disc\/tools\/\. \/opt\/nixferry\/\n/,
    );
  });

  test('packShipment makes discs that a burning program finds small enough', async () => {
    await using shipment = await makeDiscs();
    for (const disc of shipment.discs) {
      const image = join(shipment.temp, 'image.iso');
      execFileSync('genisoimage', ['-quiet', '-udf', '-J', '-r', '-o', image, disc]);
      assert.ok((await stat(image)).size <= DISC_BYTES);
    }
  });

  test('packShipment gives the mirror again by cat and tar when the volumes of all discs are put together', async () => {
    await using shipment = await makeDiscs();
    const cache = join(shipment.temp, 'cache');
    await mkdir(cache);
    const files = shipment.result.manifest.volumes.map(({ name, disc }) => {
      return join(discOf(shipment, disc ?? 0), 'volumes', name);
    });
    execFileSync('/bin/sh', ['-euc', 'cache=$0; cat "$@" | tar -xf - -C "$cache"', cache, ...files]);
    assert.equal((await readdir(join(cache, 'nar'))).length, PATHS.length);
  });

  test('importShipment takes the discs when all are named, in any order, or the folder above them, or the one above that', async () => {
    await using shipment = await makeDiscs();
    const ways = [shipment.discs, shipment.discs.toReversed(), [shipment.folder], [join(shipment.temp, 'medium')]];
    for (const [index, directories] of ways.entries()) {
      await using site = await openSite(shipment, `site-${index}`);
      assert.equal(importProblem(await importDiscs(site, shipment, directories)), undefined);
      assert.deepEqual(await visiblePaths(site), ALL_NAMES);
    }
  });

  test('importShipment takes one disc after the other, each for itself, when no NAR is larger than a disc', async () => {
    await using shipment = await makeDiscs();
    for (const order of [shipment.discs, shipment.discs.toReversed()]) {
      await using site = await openSite(shipment, `site-${order === shipment.discs}`);
      const codes: (string | undefined)[] = [];
      for (const disc of order) codes.push(importProblem(await importDiscs(site, shipment, [disc]))?.code);
      assert.deepEqual(codes, [...order.slice(1).map(() => 'import-partial'), undefined]);
      assert.deepEqual(await visiblePaths(site), ALL_NAMES);
      assert.deepEqual(await readdir(site.layout.partialFolder), []);
    }
  });

  test('importShipment imports complete roots and names the disc when one is missing, and wants only that one later', async () => {
    await using shipment = await makeDiscs();
    await using site = await openSite(shipment);
    const lost = join(shipment.temp, 'lost');
    await rename(discOf(shipment, 1), lost);
    const result = await importDiscs(site, shipment, [shipment.folder]);
    const problem = importProblem(result);
    assert.equal(problem?.code, 'import-partial');
    assert.equal(problem.exitCode, 10);
    assert.match(problem.message, /missing disc 1 \(0001-002\.tar, .*; 1 of 2 roots are complete, not wide/);
    assert.doesNotMatch(problem.message, /disc 2/);
    assert.deepEqual(
      await visiblePaths(site),
      ALL_NAMES.filter((name) => name.startsWith('right')),
    );
    for (const disc of shipment.discs.slice(1)) await rm(disc, { recursive: true });
    assert.equal(importProblem(await importDiscs(site, shipment, [lost])), undefined);
    assert.deepEqual(await visiblePaths(site), ALL_NAMES);
    assert.deepEqual(await readdir(site.layout.partialFolder), []);
  });

  test('importShipment reads a NAR larger than a disc when all its discs are there, and says so when they are not', async () => {
    const huge = { name: 'huge', contents: noise('huge', 1_200_000), references: ['right-5'] };
    await using shipment = await makeDiscs([...PATHS, huge], ['wide', 'huge']);
    await using site = await openSite(shipment);
    const last = shipment.discs.length;
    const part = importProblem(await importDiscs(site, shipment, shipment.discs.slice(0, -1)));
    assert.match(part?.message ?? '', new RegExp(`missing disc ${last} .*1 of 2 roots are complete, not huge`));
    const rest = importProblem(await importDiscs(site, shipment, [discOf(shipment, last)]));
    assert.match(rest?.hint ?? '', /-huge lies on several: copy these to folders, and name them all at once/);
    assert.equal(importProblem(await importDiscs(site, shipment, shipment.discs.slice(1))), undefined);
    assert.deepEqual(await visiblePaths(site), [...ALL_NAMES, 'huge'].sort());
  });

  test('importShipment takes manifest, signature and inventory of another disc when those of one are damaged', async () => {
    await using shipment = await makeDiscs();
    for (const name of ['manifest.json', 'manifest.sig', 'inventory.jsonl.zst']) {
      const file = join(discOf(shipment, 1), name);
      const good = await readFile(file);
      await flipBit(file, 60);
      await using site = await openSite(shipment, `site-${name}`);
      assert.equal(importProblem(await importDiscs(site, shipment, [shipment.folder])), undefined, name);
      assert.deepEqual(await visiblePaths(site), ALL_NAMES);
      await writeFile(file, good);
    }
  });

  test('importShipment refuses discs of two shipments', async () => {
    await using shipment = await makeDiscs();
    await using other = await makeDiscs();
    await using site = await openSite(shipment);
    await assert.rejects(
      importDiscs(site, shipment, [discOf(shipment, 1), discOf(other, 2)]),
      (error) => error instanceof NixferryError && error.code === 'not-a-shipment' && /several/.test(error.message),
    );
  });

  test('packShipment finishes with the very manifest that was decided when it was stopped between two discs', async () => {
    await using shipment = await makeDiscs();
    const manifest = await readFile(join(discOf(shipment, 1), 'manifest.json'));
    const { attempt } = JSON.parse(
      await readFile(join(shipment.sender.layout.folder, 'sent/plant-7/0001.json'), 'utf8'),
    );
    const journal = { about: '', attempt, inventorySha256: shipment.result.manifest.inventory.sha256, volumes: [] };
    await writeFile(join(shipment.folder, 'UNFINISHED.json'), JSON.stringify(journal));
    await rm(join(discOf(shipment, 1), 'manifest.json'));
    await cp(join(discOf(shipment, 1), 'inventory.jsonl.zst'), join(shipment.folder, 'inventory.jsonl.zst'));
    const roots = ['wide', 'right-5'].map((name) => makeTestRoot(shipment.paths, name, [name]));
    const options = {
      ...PACK,
      mirror: shipment.sender,
      roots,
      to: join(shipment.temp, 'medium'),
      discBytes: DISC_BYTES,
    };
    const again = await packShipment({ ...options, created: new Date() });
    assert.equal(again.manifestSha256, shipment.result.manifestSha256);
    assert.deepEqual(await readFile(join(discOf(shipment, 1), 'manifest.json')), manifest);
    assert.deepEqual(await readdir(shipment.folder), shipment.result.folders);
    const next = await packShipment(options);
    assert.equal(next.manifest.sequence, 2);
    assert.equal(next.manifest.previous, shipment.result.manifestSha256);
  });

  test('packShipment continues on discs, and begins their volumes anew when another layout is asked for', async () => {
    await using shipment = await makeDiscs();
    const roots = [makeTestRoot(shipment.paths, 'wide', ['wide', 'right-5'])];
    const to = join(shipment.temp, 'again');
    const base = { ...PACK, mirror: shipment.sender, roots, to, volumeSizeBytes: 50_000, discBytes: DISC_BYTES };
    const controller = new AbortController();
    const stopping = packShipment({
      ...base,
      signal: controller.signal,
      onProgress: (event) => {
        if (event.type === 'advance' && (event.bytes ?? 0) > 150_000) controller.abort();
      },
    });
    await assert.rejects(stopping);
    const folder = join(to, 'plant-7-0002');
    assert.ok((await readdir(folder)).includes('UNFINISHED.json'));
    await assert.rejects(packShipment({ ...base, discBytes: 4 * 1024 ** 2 }), /no room/);
    const onFolder = await packShipment({ ...base, discBytes: undefined });
    assert.equal(onFolder.folder, folder);
    execFileSync('sha256sum', ['--check', '--strict', '--quiet', 'SHA256SUMS'], { cwd: folder });
  });
});
