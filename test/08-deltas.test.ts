// What is sent after the first time, by the command line alone, and real Nix that installs from the result: with a way
// back and without, after losses, to a site that was restored, and with receipts that are not what they should be.

import assert from 'node:assert/strict';
import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import { type AirGap, openAirGap } from './support/air-gap.ts';
import { publicKeyLine, realise } from './support/carry.ts';
import { createNixEnvironment } from './support/nix.ts';
import { nixferryCommand } from './support/nixferry.ts';
import { openReleases, type Releases, runJson, type Verdict } from './support/releases.ts';

/** The isolated side: a mirror in an air gap. */
interface Site {
  readonly name: string;
  readonly mirror: string;
  import(folder: string): Promise<Verdict>;
  /** Writes a receipt onto a stick of its own; resolves to its folder. */
  receipt(): Promise<string>;
}

suite('deltas and receipts', () => {
  const cleanUp = new AsyncDisposableStack();
  let sender: Releases;
  let gap: AirGap;
  let sticks = 0;

  before(async () => {
    sender = cleanUp.use(await openReleases());
    gap = cleanUp.use(await openAirGap());
  });
  after(() => cleanUp.disposeAsync());

  function siteNamed(name: string, mirror = path.join(gap.directory, name)): Site {
    const common = ['--mirror', mirror];
    return {
      name,
      mirror,
      import: (folder) => runJson(gap, ['import', folder, '--trust', sender.senderKey, ...common]),
      async receipt() {
        const stick = path.join(gap.directory, `stick-${++sticks}`);
        await mkdir(stick);
        await gap.run(nixferryCommand, ['receipt', '--to', stick, ...common]);
        return stick;
      },
    };
  }

  /** Carries a receipt back; the site's key is given as if it had been compared. */
  async function acknowledge(site: Site, ...flags: string[]): Promise<Verdict> {
    const stick = await site.receipt();
    const key = publicKeyLine(await gap.run(nixferryCommand, ['keys', 'show', '--mirror', site.mirror]));
    return sender.nixferry('ack', stick, '--trust', key, ...flags);
  }

  /** Fails unless a client with an empty store installs the program as it is now from the mirror, and it runs. */
  async function assertInstalls(directory: string, key: string): Promise<void> {
    await using client = await createNixEnvironment({ network: gap.namespace });
    await realise(client, sender.program, { url: `file://${directory}`, publicKey: key });
    await client.run('nix-store', ['--verify', '--check-contents']);
    const { stdout } = await client.run(path.join(sender.program, 'bin/program'));
    assert.equal(stdout, `version ${sender.version}\n`);
  }

  async function assertSiteInstalls(site: Site): Promise<void> {
    await gap.run(nixferryCommand, ['verify', '--mirror', site.mirror]);
    await assertInstalls(
      site.mirror,
      publicKeyLine(await gap.run(nixferryCommand, ['keys', 'show', '--mirror', site.mirror])),
    );
  }

  test('with a way back, only what is new is sent, and the site installs it', async () => {
    const site = siteNamed('lab');
    await importWhole(site, (await sender.pack('lab')).folder);
    const stick = await site.receipt();
    const unknown = await sender.nixferry('ack', stick);
    assert.equal(unknown.exitCode, 12);
    assert.match(unknown.stderr, /in words: (\w+ ){9}\w+/);
    assert.equal((await acknowledge(site)).exitCode, 0);
    await sender.release();
    const { folder, verdict } = await sender.pack('lab');
    assert.equal(pathCount(verdict), 2, 'the program and its new library');
    await importWhole(site, folder);
    await assertSiteInstalls(site);
  });

  test('cat and tar make a working cache of a delta, unpacked over the earlier one', async () => {
    const cache = path.join(gap.directory, 'unpacked');
    await mkdir(cache);
    const folders = [(await sender.pack('tar')).folder];
    await sender.release();
    const delta = await sender.pack('tar', '--since', '1');
    assert.equal(pathCount(delta.verdict), 2);
    for (const folder of [...folders, delta.folder]) {
      const [name = ''] = await readdir(folder);
      const unpack = 'cat volumes/*.tar | tar -xf - -C "$1"';
      const { stderr } = await gap.run('/bin/sh', ['-euc', unpack, 'sh', cache], { cwd: path.join(folder, name) });
      assert.equal(stderr, '');
    }
    await assertInstalls(cache, sender.senderKey);
  });

  test('ten shipments that are lost in a row are made up for by the next one', async () => {
    const site = siteNamed('far');
    await importWhole(site, (await sender.pack('far')).folder);
    assert.equal((await acknowledge(site)).exitCode, 0);
    for (let lost = 0; lost < 10; lost++) {
      if (lost % 5 === 0) await sender.release();
      await sender.pack('far');
    }
    await sender.release();
    const { folder, verdict } = await sender.pack('far');
    assert.equal(verdict.fields['sequence'], 12);
    assert.equal(pathCount(verdict), 4, 'the program and three libraries');
    await importWhole(site, folder);
    await assertSiteInstalls(site);
    await acknowledge(site);
    const status = await sender.nix.run(nixferryCommand, ['status', '--mirror', sender.mirror]);
    assert.match(status.stdout, /far +last shipment 12 +receipt 2: shipment 12 arrived +did not arrive whole: 2-11/);
  });

  test('a site that was restored from an old backup says so, and gets what it lacks', async () => {
    const site = siteNamed('old');
    await importWhole(site, (await sender.pack('old')).folder);
    await acknowledge(site);
    const restored = siteNamed('old', path.join(gap.directory, 'old-backup'));
    await cp(site.mirror, restored.mirror, { recursive: true, preserveTimestamps: true });
    await sender.release();
    await importWhole(site, (await sender.pack('old')).folder);
    await acknowledge(site);
    await sender.release();
    const delta = await sender.pack('old');
    assert.equal(pathCount(delta.verdict), 2);
    const refused = await restored.import(delta.folder);
    assert.equal(refused.exitCode, 11);
    assert.match(refused.stderr, /builds on a path .*library-\d+ \(from shipment 2\)/);
    assert.equal((await acknowledge(restored)).exitCode, 0, 'it has heard of the later receipts');
    await importWhole(restored, (await sender.pack('old')).folder);
    await assertSiteInstalls(restored);
  });

  test('one way only: the sender takes delivery for granted, and a lost shipment is found out and sent again', async () => {
    const site = siteNamed('diode');
    await importWhole(site, (await sender.pack('diode')).folder);
    for (const since of [1, 2]) {
      await sender.release();
      const { folder, verdict } = await sender.pack('diode', '--since', String(since));
      assert.equal(pathCount(verdict), 2);
      await importWhole(site, folder);
    }
    await assertSiteInstalls(site);
    await sender.release();
    await sender.pack('diode', '--since', '3');
    const lostLibrary = `library-${sender.version}`;
    await sender.release();
    const next = await sender.pack('diode', '--since', '4');
    const refused = await site.import(next.folder);
    assert.equal(refused.exitCode, 11);
    assert.match(refused.stderr, new RegExp(`${lostLibrary} \\(from shipment 4\\)`));
    assert.match(refused.stderr, /nixferry pack --site diode --to DIR --lost 4/);
    const again = await sender.pack('diode', '--lost', '4');
    assert.equal(pathCount(again.verdict), 2);
    // Both on one medium: what was made later has to come first.
    await cp(again.folder, next.folder, { recursive: true });
    assert.deepEqual((await readdir(next.folder)).toSorted(), ['diode-0005', 'diode-0006']);
    await importWhole(site, next.folder);
    await assertSiteInstalls(site);
    assert.equal(await gap.attemptsToLeave(), 0);
  });

  test('shipments may come out of order: the last one to come makes all whole', async () => {
    const site = siteNamed('mixed');
    const folders = [(await sender.pack('mixed')).folder];
    for (const since of [1, 2]) {
      await sender.release();
      folders.push((await sender.pack('mixed', '--since', String(since))).folder);
    }
    const [first = '', second = '', third = ''] = folders;
    assert.equal((await site.import(third)).exitCode, 11);
    await importWhole(site, first);
    assert.equal((await site.import(third)).exitCode, 11);
    await importWhole(site, second);
    await importWhole(site, third);
    await assertSiteInstalls(site);
    await importWhole(site, first);
    await assertSiteInstalls(site);
  });

  test('two sites of one mirror: the receipt of one is none of the other', async () => {
    const [north, south] = [siteNamed('north'), siteNamed('south')];
    await importWhole(north, (await sender.pack('north')).folder);
    await importWhole(south, (await sender.pack('south')).folder);
    await acknowledge(north);
    await sender.release();
    const toNorth = await sender.pack('north');
    const toSouth = await sender.pack('south');
    assert.equal(pathCount(toNorth.verdict), 2);
    assert.equal(pathCount(toSouth.verdict), sender.version + 2, 'it acknowledged nothing');
    assert.equal((await north.import(toSouth.folder)).exitCode, 16);
    await importWhole(north, toNorth.folder);
    await importWhole(south, toSouth.folder);
    await assertSiteInstalls(north);
    await assertSiteInstalls(south);
    const stick = await north.receipt();
    const wrong = await sender.pack('south', '--since', stick);
    assert.equal(wrong.verdict.exitCode, 16);
    assert.match(wrong.verdict.stderr, /receipt of the site north, not of south/);
  });

  test('a receipt that was tampered with, or is an older one, is refused and changes nothing', async () => {
    const site = siteNamed('sly');
    await importWhole(site, (await sender.pack('sly')).folder);
    const older = await site.receipt();
    await acknowledge(site);
    await sender.release();
    await importWhole(site, (await sender.pack('sly')).folder);
    await acknowledge(site);
    const replayed = await sender.nixferry('ack', older);
    assert.equal(replayed.exitCode, 2);
    assert.match(replayed.stderr, /receipt 1 of sly; receipt 2 was acknowledged before/);

    const stick = await site.receipt();
    const [name = ''] = await readdir(stick);
    const bytes = await readFile(path.join(stick, name));
    bytes[bytes.length - 9] = (bytes.at(-9) ?? 0) ^ 4;
    await writeFile(path.join(stick, name), bytes);
    const tampered = await sender.nixferry('ack', stick);
    assert.equal(tampered.exitCode, 12);
    assert.match(tampered.stderr, /signature of .* does not hold/);

    await sender.release();
    assert.equal(pathCount((await sender.pack('sly')).verdict), 2, 'it still builds on the last good one');
    assert.equal((await sender.nixferry('ack', older, '--restored')).exitCode, 0);
    assert.equal(pathCount((await sender.pack('sly')).verdict), 3);
  });
});

/** Imports, and fails unless all is well. */
async function importWhole(site: Site, folder: string): Promise<Verdict> {
  const verdict = await site.import(folder);
  assert.equal(verdict.exitCode, 0, verdict.stderr);
  return verdict;
}

function pathCount({ fields }: Verdict): number {
  return (fields['totals'] as { readonly pathCount: number }).pathCount;
}
